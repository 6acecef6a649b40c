# SPDX-License-Identifier: MIT
"""The two sides of the sync, row by row and column by column: SQLite, read as people read it (the views), and
the mirror. Both are streamed in the order of their keys, so that any number of rows can be compared.
"""
import datetime
import json
import sqlite3
import uuid
from decimal import Decimal

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

# table: (its order, columns of SQLite that are not mirrored). All other columns of the view must be there.
TABLES = {
    "generations": ("seq", {"claim_token"}),
    "outputs": ("id", set()),
    "batch_jobs": ("id", {"seq"}),
    "logs": ("id", set()),
    "locks": ("name", set()),
    "profiles": ("id", set()),
    "sessions": ("id", set()),
    "projects": ("id", set()),
}


def _number(value):
    return Decimal(value)


def _sorted(value):
    """Numbers of any size as Decimal, without trailing zeros; objects compare by content."""
    if isinstance(value, dict):
        return {k: _sorted(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_sorted(v) for v in value]
    return value.normalize() if isinstance(value, Decimal) else value


def _json(text):
    return _sorted(json.loads(text, parse_float=_number, parse_int=_number))


def _plain(value, kind):
    """A value of SQLite, as that of Postgres is shown."""
    if value is None:
        return None
    if kind == "jsonb":
        return _json(value)
    if kind == "timestamp with time zone":
        return int(value)
    if kind == "boolean":
        return bool(value)
    if kind == "double precision":
        return float(value)
    if kind in ("integer", "bigint"):
        return int(value)
    if kind == "uuid":
        return str(uuid.UUID(value))
    return value


def _there(value, kind):
    """A value of COPY."""
    if value is None:
        return None
    if kind == "jsonb":
        return _json(value)
    if kind == "boolean":
        return value == "t"
    if kind == "double precision":
        return float(value)
    if kind in ("integer", "bigint", "timestamp with time zone"):
        return int(value)
    if kind == "bytea":
        return bytes.fromhex(value[2:])
    return value


def _columns(pg, schema, table):
    rows = pg.rows(f"SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = '{schema}' "
                   f"AND table_name = '{table}' ORDER BY ordinal_position")
    return dict(rows)


def _output(row, names):
    """An output's content is in one of two columns there, by whether Postgres can hold it as text."""
    content = row.pop("content")
    is_text = isinstance(content, str) and "\0" not in content
    row["content"] = content if is_text else None
    row["content_bytes"] = None if is_text or content is None else content if isinstance(content, bytes) else content.encode()
    return [row[n] for n in names]


def differences(database, pg, node, schema="public", limit=10, tables=None, skip=()):
    """What is not equal: lines of text, at most `limit`; [] when every row of every table is the same on both sides.
    `skip` names columns as table.column."""
    found = []
    connection = sqlite3.connect(database, timeout=10)
    connection.text_factory = lambda b: b.decode("utf-8", "surrogateescape")
    try:
        for table in tables or TABLES:
            order, left_out = TABLES[table]
            kinds = _columns(pg, schema, table)
            cursor = connection.execute(f"SELECT * FROM {table} ORDER BY {order}")
            ours = [c[0] for c in cursor.description]
            for name in ours:
                if name not in kinds and name not in left_out:
                    found.append(f"{table}.{name} is not in the mirror")
            wanted = [n for n in ours if n in kinds and f"{table}.{n}" not in skip]
            names = wanted + (["content_bytes"] if table == "outputs" else [])
            collate = ' COLLATE "C"' if kinds.get(order) == "text" else ""
            shown = ", ".join(f"(extract(epoch FROM {n}) * 1000)::bigint" if kinds[n].startswith("timestamp") else n
                              for n in names)
            there = pg.copy(f"SELECT {shown} FROM {schema}.{table} WHERE node = '{node}' ORDER BY {order}{collate}")
            key = names.index(order)
            left = next(cursor, None)
            right = next(there, None)
            while (left is not None or right is not None) and len(found) < limit:
                a = b = None
                if left is not None:
                    row = dict(zip(ours, left))
                    if table == "outputs":
                        a = _output(row, names)
                    else:
                        a = [row[n] for n in names]
                    a = [_plain(v, kinds[n]) for v, n in zip(a, names)]
                if right is not None:
                    b = [_there(v, kinds[n]) for v, n in zip(right, names)]
                if b is None or (a is not None and a[key] < b[key]):
                    found.append(f"{table} {a[key]} is missing in the mirror")
                    left = next(cursor, None)
                elif a is None or b[key] < a[key]:
                    found.append(f"{table} {b[key]} is only in the mirror")
                    right = next(there, None)
                else:
                    for x, y, n in zip(a, b, names):
                        if x != y:
                            found.append(f"{table} {a[key]}.{n}: {str(x)[:100]!r} here, {str(y)[:100]!r} there")
                    left = next(cursor, None)
                    right = next(there, None)
            there.close()
            if len(found) >= limit:
                break
    finally:
        connection.close()
    return found[:limit]
