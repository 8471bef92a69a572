"""Runs the examples of pages of docs/howto against a server, and says which print something else than the page.

    howto.py VARVE SERVER WORK always|full PAGE...

Blocks of a page run in order, in the folder WORK, where cmd is that of the repository: python in one interpreter, sh in a bash with the folder of VARVE in its path. A block of text
behind one is what it prints; where the page has none, what it prints does not matter. 127.0.0.1:7420 in a block is SERVER. Pages without such blocks have
statements and requests that the clients beside this file take from them. That of Spark runs with full.
"""
import contextlib
import io
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

from report import ran, skipped

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def shell(code, folder, path):
    environment = dict(os.environ, PATH=f"{path}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def python(code, names):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "the page", "exec"), names)
    return printed.getvalue()


def plain(text):
    """Without blanks at the ends of lines, which pages do not keep."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def run(page, varve, server, folder):
    blocks = [(kind, code.replace("127.0.0.1:7420", server)) for kind, code in BLOCK.findall(page.read_text(encoding="utf-8"))]
    names, count = {"__name__": "howto"}, 0
    for k, (kind, code) in enumerate(blocks):
        if kind not in ("python", "sh"):
            continue
        count += 1
        try:
            printed = python(code, names) if kind == "python" else shell(code, folder, Path(varve).parent)
        except ImportError as e:
            skipped("how-to pages", f"{page.name}: {e}")
            return
        except Exception:
            sys.exit(f"{page.name}: this block failed:\n{code}\n{traceback.format_exc()}")
        if k + 1 < len(blocks) and blocks[k + 1][0] == "text" and plain(printed) != plain(blocks[k + 1][1]):
            sys.exit(f"{page.name}: this block\n{code}\nprints\n{printed}\nand the page says\n{blocks[k + 1][1]}")
    if count:
        ran("how-to pages", "-", "read", f"{page.name}: {count} examples, as the page says")


def main():
    varve, server, folder, when, *pages = sys.argv[1:]
    os.chdir(folder)
    if not Path("cmd").exists():
        Path("cmd").symlink_to(Path(__file__).resolve().parents[2] / "cmd")
    os.environ.update(PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1")
    for page in map(Path, pages):
        if when == "full" or page.name != "spark.md":
            run(page, varve, server, folder)


if __name__ == "__main__":
    main()
