#!/usr/bin/env python3
"""A preprocessor of mdBook: links from docs/ to other folders of the repository become links to GitHub, where their targets are.

EVENTCAST_BOOK_REF is the branch or tag that they lead to (main).
"""
import json
import os
import posixpath
import re
import sys

REPOSITORY = "https://github.com/eventcast/eventcast/blob/" + os.environ.get("EVENTCAST_BOOK_REF", "main")


def rewrite(text, page):
    def target(match):
        path, hash_, anchor = match[1].partition("#")
        if not path or "://" in path:
            return match[0]
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), path))
        return match[0] if path.startswith("docs/") else f"]({REPOSITORY}/{path}{hash_}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", target, text)


def visit(items):
    for item in items:
        if "Chapter" in item:
            chapter = item["Chapter"]
            if chapter["path"]:
                chapter["content"] = rewrite(chapter["content"], chapter["path"])
            visit(chapter["sub_items"])


if sys.argv[1:2] == ["supports"]:
    sys.exit(0)
_context, book = json.load(sys.stdin)
visit(book["items"])
json.dump(book, sys.stdout)
