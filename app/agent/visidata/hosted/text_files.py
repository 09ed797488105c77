"""Savers of text formats that VisiData's own would lose or tear values in: .tsv, fixed width, JSON, .vds, .rec, GeoJSON.

Those that it saves well (csv, html, markdown and others) take their text from `values.iterdispvals`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from visidata import ExprColumn, Progress, Sheet, VisiData, vd  # type: ignore[import-not-found]
from visidata.loaders import geojson, markdown, rec  # type: ignore[import-not-found]

from . import plain, values

LINE_END = re.compile(r"\r\n|\r|\n")


def install() -> None:
    VisiData.api(save_tsv)
    VisiData.api(save_fixed)
    VisiData.api(save_md)
    VisiData.api(save_jira)
    VisiData.api(save_json)
    VisiData.api(save_jsonl)
    VisiData.save_ndjson = VisiData.save_ldjson = VisiData.save_jsonl
    Sheet.api(write_jsonl)
    VisiData.api(save_vds)
    VisiData.api(save_rec)
    VisiData.api(save_geojson)


def column_names(cols: Iterable[Any], kind: str, key: Callable[[str], str] = str) -> list[str]:
    """Their names for a format in which no two columns may have the same name; says which name is another there."""
    names = [col.name for col in cols]
    own = plain.unique(names, key)
    for name, other in zip(names, own, strict=True):
        if name != other:
            vd.warning(f"{kind} cannot hold two columns named `{name}`; the second is saved as `{other}`")
    return own


def save_tsv(vd, p, vs):  # type: ignore[no-untyped-def]
    """Cells with tabs or line ends are in quotes, as in a spreadsheet's .tsv, so that the number of rows stays the same.

    Their whole column is in quotes: a reader that looks at the first rows alone then knows what quotes mean.
    """
    separator, line_end = p.options.delimiter or "\0", p.options.row_delimiter or "\0"
    if separator == line_end:
        vd.fail("field delimiter and row delimiter cannot be the same")
    cols = vs.visibleCols
    quoted = {col: plain.needs_quotes(col.name, separator) for col in cols}
    # Other row delimiters, such as that of .usv, belong to formats without quotes.
    quotes, replaced = line_end == "\n", 0
    if quotes:
        for row in vs.iterdispvals(*cols, format=True, delimiter=separator):
            for col, cell in row.items():
                quoted[col] = quoted[col] or plain.needs_quotes(cell, separator)

    def written(col: Any, cell: str) -> str:
        if quotes:
            return plain.quoted(cell) if quoted[col] else cell
        return cell.replace(separator, " ").replace(line_end, " ")

    with p.open(mode="w", encoding=vs.options.save_encoding) as fp:
        fp.write(separator.join(written(col, col.name) for col in cols) + line_end)
        for row in vs.iterdispvals(*cols, format=True, delimiter=separator):
            cells = [written(col, cell) for col, cell in row.items()]
            replaced += not quotes and cells != list(row.values())
            fp.write(separator.join(cells) + line_end)
    names = ", ".join(col.name for col in cols if quotes and quoted[col])
    if names:
        vd.status(f"saved in quotes, since cells hold line ends, delimiters or quotes: {names}")
    if replaced:
        vd.warning(f"delimiters in the cells of {replaced} rows became spaces")


def save_fixed(vd, p, *vsheets):  # type: ignore[no-untyped-def]
    with p.open(mode="w", encoding=vsheets[0].options.save_encoding) as fp:
        for vs in vsheets:
            if len(vsheets) > 1:
                fp.write(f"{vs.name}\n\n")
            cols, torn = vs.visibleCols, 0
            widths = [len(col.name) for col in cols]
            for row in vs.iterdispvals(format=True):
                widths = [max(width, len(cell)) for width, cell in zip(widths, row.values(), strict=True)]
            fp.write("".join(f"{col.name:<{width}} " for col, width in zip(cols, widths, strict=True)) + "\n")
            for row in vs.iterdispvals(format=True):
                for (col, cell), width in zip(row.items(), widths, strict=True):
                    line = LINE_END.sub(" ", cell)
                    torn += line != cell
                    fp.write(f"{line:{'>' if vd.isNumeric(col) else '<'}{width}} ")
                fp.write("\n")
            if torn:
                vd.warning(f"{torn} cells held line ends, which became spaces: a line is a row in this format")


def save_md(vd, p, *sheets):  # type: ignore[no-untyped-def]
    _save_markdown(p, sheets, "orgmode", "|")


def save_jira(vd, p, *sheets):  # type: ignore[no-untyped-def]
    _save_markdown(p, sheets, "jira", "||")


def _save_markdown(p: Any, sheets: Sequence[Any], style: str, header: str) -> None:
    """Tables of Markdown or Jira. A column `x_href` holds the links of column `x`. A line end within a cell is a break."""

    def cell(text: str) -> str:
        return LINE_END.sub("<br>" if style == "orgmode" else r"\\\\", markdown.markdown_escape(text, style))

    with p.open(mode="w", encoding=sheets[0].options.save_encoding) as fp:
        for vs in sheets:
            if len(sheets) > 1:
                fp.write(f"# {vs.name}\n\n")
            cols = [col for col in vs.visibleCols if not col.name.endswith("_href")]
            links = [vs.colsByName.get(f"{col.name}_href") for col in cols]
            names = [cell(col.name).ljust(col.width or vs.options.default_width) for col in cols]
            fp.write(header + header.join(names) + header + "\n")
            if style == "orgmode":
                rules = (
                    "-" * (len(name) - 1) + (":" if vd.isNumeric(c) else "-")
                    for c, name in zip(cols, names, strict=True)
                )
                fp.write("|" + "|".join(rules) + "|\n")
            for row in vs.iterrows("saving"):
                texts = [
                    markdown.markdown_link(cell(values.text(col, row)), values.text(link, row) if link else "")
                    for col, link in zip(cols, links, strict=True)
                ]
                padded = (text.ljust(len(name)) for text, name in zip(texts, names, strict=True))
                fp.write("|" + "|".join(padded) + "|\n")
            fp.write("\n")


def _dicts(vs: Any, rows: Iterable[Any]) -> Iterable[dict[str, Any]]:
    cols = vs.visibleCols
    names = column_names(cols, "JSON")
    for index, row in enumerate(rows):
        cells = [vd.get_json_value(col, row) for col in cols]
        # The first row names all columns, in their order.
        yield {name: cell for name, cell in zip(names, cells, strict=True) if index == 0 or cell is not None}


def _indent(options: Any) -> Any:
    given = options.json_indent
    return int(given) if str(given).isdigit() else given


def save_json(vd, p, *vsheets):  # type: ignore[no-untyped-def]
    options = vsheets[0].options
    encode = json.JSONEncoder(
        indent=_indent(options), sort_keys=options.json_sort_keys, ensure_ascii=options.json_ensure_ascii
    ).encode
    with p.open(mode="w", encoding=options.save_encoding) as fp:

        def write_rows(vs: Any) -> None:
            for index, row in enumerate(_dicts(vs, vs.iterrows("saving"))):
                fp.write((",\n" if index else "") + encode(row))

        if len(vsheets) == 1:
            fp.write("[\n")
            write_rows(vsheets[0])
            fp.write("\n]\n")
            return
        names = plain.unique(vs.name for vs in vsheets)
        for index, (name, vs) in enumerate(zip(names, vsheets, strict=True)):
            fp.write(("{\n" if index == 0 else ",\n") + encode(name) + ": [\n")
            write_rows(vs)
            fp.write("\n]")
        fp.write("\n}\n")


def write_jsonl(vs, fp):  # type: ignore[no-untyped-def]
    for row in _dicts(vs, vs.iterrows("saving")):
        fp.write(json.dumps(row) + "\n")
    if not len(vs):
        vd.warning("the file has no rows and so no columns either; save as .jsonla to keep the columns")


def save_jsonl(vd, p, *vsheets):  # type: ignore[no-untyped-def]
    if len(vsheets) > 1:
        vd.warning("a .jsonl file is one table: the rows of all sheets follow each other")
    with p.open(mode="w", encoding=vsheets[0].options.save_encoding) as fp:
        for vs in vsheets:
            vs.write_jsonl(fp)


def save_vds(vd, p, *sheets):  # type: ignore[no-untyped-def]
    """Cells are saved as they were read, since the columns' types are saved too. Formulas stay formulas."""
    with p.open(mode="w", encoding="utf-8") as fp:
        for vs in sheets:
            fp.write("#" + json.dumps({"name": vs.name}) + "\n")
            keys = plain.unique(col.name for col in vs.columns)
            for col, key in zip(vs.columns, keys, strict=True):
                state = col.__getstate__()
                if type(col) is ExprColumn:
                    state["col"] = "ExprColumn"
                else:
                    # The loader takes the name for the key of the cells. `_name` then gives the column its own name.
                    state |= {"col": "Column", "name": key, "expr": key, "_name": col.name}
                fp.write("#" + json.dumps(state) + "\n")
            if not vs.rows:
                fp.write("\n")  # The reader needs a line between sheets without rows.
            for row in Progress(vs.rows, "saving"):
                cells = (plain.jsonable(values.raw(col, row)) for col in vs.columns)
                fp.write(json.dumps(dict(zip(keys, cells, strict=True))) + "\n")


def save_rec(vd, p, *vsheets):  # type: ignore[no-untyped-def]
    with p.open(mode="w", encoding=vsheets[0].options.save_encoding) as fp:
        for vs in vsheets:
            for comment in getattr(vs, "comments", []):
                fp.write(f"# {comment}\n")
            fp.write(f"%rec: {vs.name}\n")
            for col in vs.keyCols:
                fp.write(f"%key: {col.name}\n")
            for row in vs.iterrows("saving"):
                for col in vs.visibleCols:
                    if values.raw(col, row) is not None:
                        fp.write(f"{col.name}: {rec.encode_multiline(values.text(col, row))}\n")
                fp.write("\n")
            fp.write("\n")


def save_geojson(vd, p, vs):  # type: ignore[no-untyped-def]
    if not isinstance(vs, geojson.GeoJSONSheet):
        vd.fail(f"{vs.name} has no shapes: save it as .json")
    names = column_names(vs.visibleCols, "GeoJSON")
    features = []
    for row in vs.iterrows("saving"):
        cells = [vd.get_json_value(col, row) for col in vs.visibleCols]
        properties = {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
        features.append(deepcopy(row) | {"properties": properties})
    with p.open(mode="w", encoding="utf-8") as fp:
        json.dump({"type": "FeatureCollection", "features": features}, fp, indent=_indent(vs.options))
