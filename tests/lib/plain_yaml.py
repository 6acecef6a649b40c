# SPDX-License-Identifier: MIT
"""Reads the plain part of YAML that a manifest needs, and refuses the rest: mappings, lists, block texts (|) and scalars
on one line. Stricter than YAML: a key twice, a tab or an odd indentation raises ValueError."""
import json
import re

KEY = re.compile(r"([\w./-]+):(?: (.*))?$")


class Lines:
    def __init__(self, text):
        self.all = text.split("\n")
        self.at = 0

    def next(self):
        """(indent, content) of the next line that says something, left where it is; None at the end."""
        while self.at < len(self.all) and not re.sub(r"^\s*#.*", "", self.all[self.at]).strip():
            self.at += 1
        if self.at == len(self.all):
            return None
        line = self.all[self.at]
        if "\t" in line or line != line.rstrip():
            self.refuse("a tab, or spaces at the end")
        return len(line) - len(line.lstrip(" ")), line.strip()

    def refuse(self, why):
        raise ValueError(f"line {self.at + 1}: {why}: {self.all[self.at]!r}")


def scalar(lines, text):
    if text[0] in "\"[{":
        return json.loads(text)
    if text[0] in "'&*!%@`|>" or " #" in text or ": " in text or text.endswith(":"):
        lines.refuse("quote it, or write it otherwise")
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return {"true": True, "false": False, "null": None, "~": None}.get(text, text)


def block(lines, outside):
    """The text after `|`: all lines that stand deeper than `outside`."""
    found, indent = [], None
    while lines.at < len(lines.all):
        line = lines.all[lines.at]
        if line.strip():
            here = len(line) - len(line.lstrip(" "))
            if indent is None:
                indent = here
            if here < indent or here <= outside:
                break
        found.append(line[indent or 0:])
        lines.at += 1
    return "\n".join(found).rstrip("\n") + "\n"


def value(lines, text, indent):
    """What stands after a key or a dash that begins at `indent`."""
    lines.at += 1
    if text == "|":
        return block(lines, indent)
    if text:
        lines.at -= 1
        found = scalar(lines, text)
        lines.at += 1
        return found
    following = lines.next()
    if following is None or following[0] <= indent:
        return None
    return node(lines, following[0])


def node(lines, indent):
    here, text = lines.next()
    if here != indent:
        lines.refuse("an odd indentation")
    return listed(lines, indent) if re.match(r"-( |$)", text) else mapping(lines, indent)


def listed(lines, indent):
    found = []
    while True:
        line = lines.next()
        if line is None or line[0] < indent:
            return found
        if line[0] != indent or not line[1].startswith("-"):
            lines.refuse("not an item of the list above")
        item = line[1][1:].strip()
        if KEY.match(item) and item[0] not in "\"[{":  # a mapping that begins behind its dash
            lines.all[lines.at] = " " * (indent + 2) + item
            found.append(mapping(lines, indent + 2))
        else:
            found.append(value(lines, item, indent))


def mapping(lines, indent):
    found = {}
    while True:
        line = lines.next()
        if line is None or line[0] < indent:
            return found
        key = KEY.match(line[1])
        if line[0] != indent or not key:
            lines.refuse("not a key of the mapping above")
        if key.group(1) in found:
            lines.refuse("this key is there already")
        found[key.group(1)] = value(lines, key.group(2) or "", indent)


def read(text):
    lines = Lines(text)
    first = lines.next()
    return node(lines, first[0]) if first else None
