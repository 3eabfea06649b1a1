"""`nas identity-table RUN|FILE --on DATA`: makes a network for crops a teacher of person search."""

from __future__ import annotations

from pathlib import Path

from nas.cli.arguments import OUT, parse_table_args
from nas.cli.files import say
from nas.data.images import Images
from nas.run import RESULTS, Run


def main(arguments: list[str]) -> int:
    """Runs `nas identity-table ARGUMENTS`; the exit status."""
    subject, *rest = arguments
    path, images = _network(Path(subject))
    table, options = parse_table_args(path, images, rest, f"nas identity-table {subject}")
    out = options.out or OUT / f"identity-table-{Path(subject).stem}-{type(table.data).__name__.lower()}.safetensors"
    if out.suffix != ".safetensors":
        raise ValueError(f"--out must be a file named *.safetensors, not {out}")
    if out.exists() and not options.overwrite:
        raise ValueError(f"{out} exists: give --out another file, or --overwrite to replace it")
    made = table.made()
    made.save(out)
    said = f"{len(made.identities)} identities, for a student with embedding_dim={made.net.out_channels}"
    if not options.json:
        print(f"a table of {said}")
    say({"table": str(out), "of": said}, [("identity table", out)], options.json)
    return 0


def _network(subject: Path) -> tuple[Path, Images]:
    """The file of a run's student, or the file itself, and the size that its crops are brought to, as far as known."""
    if not subject.is_dir():
        return subject, Images(height=256, width=128)
    run = Run.open(subject)
    path = run.folder / RESULTS["retrain"]
    if not path.exists():
        raise ValueError(f"{subject} has no {path.name} yet: `nas retrain {subject}` comes first")
    images = run.recipe.images
    return path, images if isinstance(images, Images) else Images(height=256, width=128)
