"""Says which outside clients ran, and fails where one did not do what clients.lock says it does.

    report.py LOCK SAID always|full

SAID has what the clients said: a line `ran | CLIENT | VERSION | TEST | WHAT` for each test that held, `skipped | CLIENT | WHY` for a client that could
not be had, or for those of its tests that it did not report. With CI=true only those may be missing that need a program, by LOCK, which is not on this machine,
or reaches nothing: beside SAID may be a file unreachable with the names of such programs.
"""
import os
import shutil
import sys

TESTS = ["read", "prepare", "parameters", "metadata", "cancel", "ingest"]


def ran(client, version, test, what):
    """A test of a client held."""
    print("ran", client, version, test, what, sep=" | ", flush=True)


def skipped(client, why):
    """A client, or what it did not report, could not be had here."""
    print("skipped", client, why, sep=" | ", flush=True)


def finish():
    """Ends a client that did all it had to. Threads of pyarrow may abort a process while it takes itself down ("terminate called without an active exception")."""
    sys.stdout.flush()
    os._exit(0)


def fields(line):
    return [f.strip() for f in line.split("|")]


def here(program, said):
    """Whether a program is on this machine, and reaches what it needs."""
    unreachable = os.path.join(os.path.dirname(said), "unreachable")
    if os.path.exists(unreachable):
        with open(unreachable, encoding="utf-8") as f:
            if program in f.read().split():
                return False
    return shutil.which(program) is not None


def main(lock, said, when):
    with open(lock, encoding="utf-8") as f:
        clients = [fields(line)[1:] for line in f if line.startswith("client |")]
    with open(said, encoding="utf-8") as f:
        lines = [fields(line) for line in f]
    did, versions, missing = {}, {}, {}
    for line in lines:
        if line[0] == "ran":
            did.setdefault(line[1], set()).add(line[3])
            versions[line[1]] = line[2]
        elif line[0] == "skipped":
            missing[line[1]] = line[2]

    wrong, rows = [], [["client", "version", *TESTS]]
    for name, tests, runs, programs in clients:
        if runs == "full" and when != "full":
            continue
        of = set(tests.split())
        lacking = of - did.get(name, set())
        if lacking and name in did and name not in missing:
            wrong.append(f"{name} did not report {', '.join(sorted(lacking))}")
        elif lacking:
            missing.setdefault(name, "nothing was said of it")
            if os.environ.get("CI") == "true" and all(here(p, said) for p in programs.split()):
                wrong.append(f"{name} must run on this machine, and did not: {missing[name]}")
        no = "skipped" if name in missing else "MISSING"
        cells = [no if t in lacking else "yes" if t in did.get(name, ()) else "-" for t in TESTS]
        rows.append([name, versions.get(name, "-"), *cells])
    known = {c[0] for c in clients}
    wrong += [f"{name} is no client of {os.path.basename(lock)}" for name in [*did, *missing] if name not in known]
    extra = {name: tests - set(TESTS) for name, tests in did.items() if tests - set(TESTS)}
    wrong += [f"{name} reported {', '.join(sorted(tests))}, which is no test" for name, tests in extra.items()]

    widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
    print()
    for r in rows:
        print("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())
    for name, why in missing.items():
        print(f"skipped: {name}: {why}")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
