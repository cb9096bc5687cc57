"""Colours of the relations, told apart by people who see no red or no green, and with three times
the luminance of their ground or a third of it (WCAG 1.4.11)."""

from __future__ import annotations

#: relation: on white, on black
RELATIONS = {
    "fine-tune": ("#2563a8", "#74b3f2"),
    "continuation": ("#b3540b", "#f2a65a"),
    "lora": ("#8a3fa0", "#d29be3"),
    "quantized": ("#0f766e", "#55c7b5"),
    "pruned": ("#a3333d", "#f28b8b"),
    "merge": ("#656b0a", "#cdc85a"),
    "converted": ("#4b6480", "#9db8d2"),
    "duplicate": ("#6b7280", "#a3abb8"),
}
OTHER = ("#3f3f46", "#d4d4d8")
