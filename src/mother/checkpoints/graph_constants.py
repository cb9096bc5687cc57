"""What of a stored graph's constants are weights: an exported graph holds shapes and axes, too."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mother.checkpoints.tensor import Tensor

#: integers up to this many are a graph's own: shapes, axes, indices, settings
MAX_OWN = 1024


def weights_among(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without single numbers and short lists of integers.

    >>> import numpy as np
    >>> from mother.checkpoints.tensor import constant
    >>> held = {"w": np.zeros((4, 4), "f4"), "epsilon": np.float32(1e-5), "axes": np.arange(2)}
    >>> list(weights_among({n: constant(n, np.asarray(v)) for n, v in held.items()}))
    ['w']
    """
    return {
        name: tensor
        for name, tensor in tensors.items()
        if (tensor.is_weight and (tensor.size > 1 or _is_parameter(tensor)))
        or (not tensor.is_weight and tensor.size > MAX_OWN)
    }


def _is_parameter(tensor: Tensor) -> bool:
    """Whether a single number may have been trained."""
    return tensor.shape == (1,) and bool(np.isfinite(tensor.read().astype(np.float64)).all())
