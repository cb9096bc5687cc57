"""Folders as the tools that own them write them, and what `mother` calls what is in there.

    python -m experiments.stores.write FOLDER

Each tool that is installed writes its own: transformers' Trainer, accelerate, Lightning, timm,
sentence-transformers, W&B offline, and the commands of DVC and Git LFS. The others are named.
huggingface_hub writes its cache in `tests/checkpoints/test_local_stores.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from mother.checkpoints import discover
from mother.checkpoints.passed_over import passed_over

STEPS, EVERY = 6, 2


def trainer(folder: Path) -> None:
    """Three checkpoints of a tiny BERT, and the model at the end."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        Trainer,
        TrainingArguments,
    )

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(vocab_size=32, intermediate_size=32, **shape))
    row = {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1], "labels": 0}
    arguments = TrainingArguments(
        str(folder / "tuned"),
        max_steps=STEPS,
        save_steps=EVERY,
        eval_strategy="steps",
        eval_steps=EVERY,
        load_best_model_at_end=True,
        per_device_train_batch_size=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trained = Trainer(model, arguments, train_dataset=[row] * 8, eval_dataset=[row])
    trained.train()
    trained.save_model()


def accelerated(folder: Path) -> None:
    """Two states under automatic names."""
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    where = ProjectConfiguration(str(folder / "run"), automatic_checkpoint_naming=True)
    accelerator = Accelerator(project_config=where, cpu=True)
    model = torch.nn.Linear(16, 16)
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    for _ in range(2):
        accelerator.backward(model(torch.ones(1, 16)).sum())
        optimizer.step()
        accelerator.save_state()


def lightning(folder: Path) -> None:
    """Two versions; last.ckpt is a link in one of them and a file of its own in the other."""
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(16, 16)

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.linear(batch).pow(2).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters())

    for last in ("link", True):
        data = torch.utils.data.DataLoader(torch.ones(4, 16))
        saving = ModelCheckpoint(every_n_epochs=1, save_top_k=-1, save_last=last)
        fit = pl.Trainer(
            max_epochs=2,
            logger=CSVLogger(folder),
            callbacks=[saving],
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        fit.fit(Net(), data)


def timm(folder: Path) -> None:
    """Three epochs, the second best: timm links it hard."""
    from timm.utils import CheckpointSaver

    model = torch.nn.Linear(16, 16)
    run = folder / "20240101-linear"
    run.mkdir()
    saver = CheckpointSaver(
        model, torch.optim.AdamW(model.parameters()), checkpoint_dir=str(run), recovery_dir=str(run)
    )
    for epoch, metric in enumerate((1.0, 3.0, 2.0)):
        with torch.no_grad():
            model.weight += 1
        saver.save_checkpoint(epoch, metric)


def sentences(folder: Path) -> None:
    """A transformer, pooling, and a dense layer, in three folders."""
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    made = folder.parent / "made"
    BertModel(BertConfig(vocab_size=8, intermediate_size=32, **shape)).save_pretrained(made)
    (made / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]))
    BertTokenizerFast(str(made / "vocab.txt")).save_pretrained(made)
    first = models.Transformer(str(made))
    parts = [first, models.Pooling(16), models.Dense(16, 8)]
    SentenceTransformer(modules=parts).save(str(folder / "mini"))
    shutil.rmtree(made)


def wandb(folder: Path) -> None:
    """A run that is offline: an artifact that waits, and a file that was saved with the run."""
    where = {"WANDB_DIR": folder, "WANDB_CACHE_DIR": folder.parent, "WANDB_DATA_DIR": folder}
    os.environ |= {"WANDB_MODE": "offline"} | {name: str(at) for name, at in where.items()}
    import wandb

    run = wandb.init(project="lab")
    at = Path(run.dir) / "model.pt"
    torch.save({"w": torch.ones(16, 16)}, at)
    wandb.save(str(at), base_path=run.dir)
    artifact = wandb.Artifact("kid", "model")
    artifact.add_file(str(at))
    run.log_artifact(artifact)
    run.finish()


def dvc(folder: Path) -> None:
    """A file and a folder that `dvc add` took, gone from the workspace."""
    torch.save({"w": torch.ones(16)}, folder / "kid.pt")
    (folder / "many").mkdir()
    torch.save({"w": torch.ones(16)}, folder / "many" / "other.pt")
    _run(folder, "dvc", "init", "--no-scm", "-q")
    _run(folder, "dvc", "add", "-q", "kid.pt", "many")
    (folder / "kid.pt").unlink()
    shutil.rmtree(folder / "many")


def lfs(folder: Path) -> None:
    """A clone made without the weights."""
    theirs, ours = folder / "theirs", folder / "ours"
    theirs.mkdir()
    _run(theirs, "git", "init", "-q")
    _run(theirs, "git", "lfs", "install", "--local")
    _run(theirs, "git", "lfs", "track", "*.pt")
    torch.save({"w": torch.ones(16)}, theirs / "kid.pt")
    _run(theirs, "git", "add", "-A")
    _run(theirs, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "kid")
    os.environ["GIT_LFS_SKIP_SMUDGE"] = "1"
    _run(folder, "git", "clone", "-q", str(theirs), str(ours))
    shutil.rmtree(theirs)


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


WRITERS: tuple[Callable[[Path], None], ...] = (
    trainer,
    accelerated,
    lightning,
    timm,
    sentences,
    wandb,
    dvc,
    lfs,
)


def main(home: Path) -> None:
    for write in WRITERS:
        folder = home / write.__name__
        folder.mkdir(parents=True)
        try:
            write(folder)
        except (ImportError, FileNotFoundError, subprocess.CalledProcessError) as absent:
            print(f"{write.__name__}: not written: {absent}")
            continue
        found, problems = discover([folder])
        print(f"{write.__name__}:")
        for checkpoint in found:
            notes = "; ".join(n.replace(str(home), "") for n in checkpoint.notes)
            print(f"  {checkpoint.id}{f'   {notes}' if notes else ''}")
        for problem in [*problems, *passed_over([folder], found, problems)]:
            print(f"  not read: {problem.path.relative_to(folder)}: {problem.fault}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
