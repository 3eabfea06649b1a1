"""`nas export RUN`: writes a network of a run for cameras, and measures what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from nas.cli.run_command import EntryOptions, run_command
from nas.report.numbers import MISSING, milliseconds, percent
from nas.report.table import Row, Table, as_rich, terminal
from nas.report.timing import conditions_line
from nas.run import Run
from nas.stages.export import export
from nas.stages.export_form import Form, files_of


@dataclass(frozen=True)
class ExportOptions(Form, EntryOptions):
    """The options of `nas export`."""

    out: Annotated[
        Path | None, tyro.conf.arg(help="the file; by default one in the run's folder, such as student-int8.onnx")
    ] = None


def main(arguments: list[str]) -> int:
    """Runs `nas export ARGUMENTS`; the exit status, 1 where the file was not good enough to be written."""
    good = True

    def work(run: Run, options: ExportOptions) -> dict[str, Any]:
        nonlocal good
        form = Form(**{field.name: getattr(options, field.name) for field in fields(Form)})
        path = options.out or form.path_in(run.folder)
        said = export(run, path, options.overwrite, form)
        good = said["good"]
        if not options.json:
            _show(said)
        files = {each.suffix[1:]: str(each) for each in files_of(path)} if good else {}
        return {"run": str(run.folder), "export": said} | files

    status = run_command("export", arguments, work, ExportOptions)
    return status if good else 1


def _show(said: Mapping[str, Any]) -> None:
    """Prints what was measured."""
    console = terminal()
    if said.get("candidates"):
        console.print(as_rich(_table("in int8", said["candidates"])))
    if said["rows"]:
        console.print(as_rich(_table("form", said["rows"])))
        last = said["rows"][-1]
        print(conditions_line([last | {"timing": last["timing"] | {"precision": ""}}]))
    compared = said["parity"]
    persons = f" with {compared['persons']} persons" if "persons" in compared else ""
    line = (
        f"{said['exporter']} wrote it; {compared['images']} images{persons}: {', '.join(said['outputs'])} within "
        f"{compared['largest_difference']:.1e} of the network's"
    )
    if "least_cosine" in compared:
        line += f", cosine at least {compared['least_cosine']:.6f}"
    if "same_first" in compared:
        line += f", the same first place for {percent(compared['same_first'])} % of the queries"
    print(line)
    for remark in said["remarks"]:
        print(remark)
    if not said["good"]:
        print(
            f"not written: its mAP is {said['mAP_fall']:.2f} points below the network's, and --tolerance allows "
            f"{said['tolerance']:g}"
        )


def _table(what: str, rows: list[dict[str, Any]]) -> Table:
    columns = {"mAP": ("mAP", percent), "rank1": ("rank-1", percent)}
    columns |= {"ms_per_image_1": ("ms, batch 1", milliseconds), "ms_per_image_8": ("ms, batch 8", milliseconds)}
    columns = {key: column for key, column in columns.items() if any(row.get(key) is not None for row in rows)}
    shown = [measure.column([row.get(key) for row in rows]) for key, (_, measure) in columns.items()]
    layers = [[str(row["layers"]) for row in rows]] if "layers" in rows[0] else []
    sizes = [MISSING if row["bytes"] is None else f"{row['bytes'] / 1024:,.0f} KiB" for row in rows]
    cells = zip([row["name"] for row in rows], *layers, *shown, sizes, strict=True)
    return Table(
        columns=(what, *["layers"] * len(layers), *(head for head, _ in columns.values()), "size"),
        rows=tuple(Row(tuple(each), best=bool(row.get("chosen"))) for each, row in zip(cells, rows, strict=True)),
    )
