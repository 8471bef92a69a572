"""Lets an agent write to a server, stops the server on the way, and compares what is stored with what the agent had, value by value.

    agents.py telegraf|prometheus BINARY VARVE WORK
"""
import atexit
import csv
import http.server
import io
import json
import math
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


class Server:
    """A server with tokens, that can be stopped and started again on the same addresses."""

    def __init__(self, varve, work):
        self.varve, self.work = varve, Path(work)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        lines, self.token = "", {}
        for scope in ("read", "write"):
            made = subprocess.run([varve, "token", "new", scope + "er", "--scope", scope], check=True, capture_output=True, text=True)
            self.token[scope], lines = made.stdout.strip(), lines + made.stderr
        (self.work / "tokens").write_text(lines)
        self.http = "127.0.0.1:0"
        self.process = None

    def start(self):
        log = self.work / "log"
        with open(log, "w") as out:
            self.process = subprocess.Popen(
                [self.varve, "serve", "--data", self.work / "data", "--listen", "127.0.0.1:0", "--http-listen", self.http, "--tokens", self.work / "tokens"],
                stdout=subprocess.DEVNULL, stderr=out)
        atexit.register(self.process.kill)
        for _ in range(300):
            text = log.read_text()
            if "\nlistening on " in "\n" + text:
                self.http = re.search(r"^listening for HTTP on (\S+)$", text, re.M).group(1)
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit("the server does not start:\n" + log.read_text())

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.process.wait()

    def ask(self, **parameters):
        """Rows of CSV, the header among them."""
        query = urllib.parse.urlencode(dict(parameters, format="csv"))
        request = urllib.request.Request(f"http://{self.http}/api/v1/query?{query}", headers={"Authorization": "Bearer " + self.token["read"]})
        with urllib.request.urlopen(request) as answer:
            return list(csv.reader(io.StringIO(answer.read().decode())))

    def samples(self, pattern, start, end):
        """What is stored of tags that match: {tag: {nanoseconds: text}}. All of it must be Good."""
        out = {}
        for when, tag, value, quality in self.ask(tag=pattern, start=start, end=end)[1:]:
            if quality != "Good":
                sys.exit(f"{tag} at {when} is {quality}")
            out.setdefault(tag, {})[nanoseconds(when)] = value
        return out


def nanoseconds(text):
    whole, _, part = text.rstrip("Z").partition(".")
    seconds = int(time.mktime(time.strptime(whole + " UTC", "%Y-%m-%dT%H:%M:%S %Z"))) - time.timezone
    return seconds * 10**9 + int((part + "000000000")[:9])


def compare(name, got, want, same):
    if set(got) != set(want):
        sys.exit(f"{name}: tags that are missing: {sorted(set(want) - set(got))[:5]}, that nobody sent: {sorted(set(got) - set(want))[:5]}")
    n = 0
    for tag, samples in want.items():
        if set(got[tag]) != set(samples):
            sys.exit(f"{name}: {tag}: {len(got[tag])} samples at other times than the {len(samples)} sent: {sorted(set(got[tag]) ^ set(samples))[:5]}")
        for at, value in samples.items():
            if not same(got[tag][at], value):
                sys.exit(f"{name}: {tag} at {at} is {got[tag][at]!r}, was sent as {value!r}")
            n += 1
    return n


def plant():
    """Points as lines of the line protocol, and the tags they must become."""
    rng, lines, want = random.Random(7), [], {}
    start = 1_772_366_400_000_000_000
    for i in range(3000):
        unit, area = f"P-{100 + i % 40}", ["north", "south side", "a,b=c"][i % 3]
        at = start + i * 1_000_000_007
        values = {
            "flow": rng.choice([rng.random() * 1e3, -0.0, 1e-300, 1.5e300, float(i)]),
            "starts": rng.randrange(-2**63, 2**63), "serial": rng.randrange(2**63), "running": rng.random() < 0.5,
            "mode": rng.choice(["auto", 'say "no"', "back\\slash", "ünïcode", "two words", "a,b=c"]),
        }
        escape = lambda s: s.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")
        texts = []
        for field, v in values.items():
            if isinstance(v, bool):
                texts.append(f"{field}={'true' if v else 'false'}")
            elif isinstance(v, int):
                texts.append(f"{field}={v}i")
            elif isinstance(v, float):
                texts.append(f"{field}={v!r}")
            else:
                quoted = v.replace("\\", "\\\\").replace('"', '\\"')
                texts.append(f'{field}="{quoted}"')
        lines.append(f"pump,unit={unit},area={escape(area)} {','.join(texts)} {at}")
        for field, v in values.items():
            key = area.replace("\\", "\\\\").replace(",", "\\,").replace("}", "\\}")
            want.setdefault(f"pump.{field}{{area={key},unit={unit}}}", {})[at] = v
    return lines, want


def same_text(got, value):
    if isinstance(value, bool):
        return got == ("true" if value else "false")
    if isinstance(value, float):
        return float(got) == value and math.copysign(1, float(got)) == math.copysign(1, value)
    return got == str(value)


def telegraf(binary, varve, work):
    lines, want = plant()
    version = re.search(r"^program telegraf v(\S+)", (Path(__file__).parent.parent / "clients.lock").read_text(), re.M).group(1)
    outputs = {
        "version 2": lambda s: f'[[outputs.influxdb_v2]]\n urls = ["http://{s.http}"]\n token = "{s.token["write"]}"\n organization = "o"\n bucket = "b"\n',
        "version 1": lambda s: f'[[outputs.influxdb]]\n urls = ["http://{s.http}"]\n database = "plant"\n username = "writer"\n password = "{s.token["write"]}"\n',
        "version 1 by parameters": lambda s: f'[[outputs.influxdb]]\n urls = ["http://{s.http}"]\n database = "plant"\n skip_database_creation = true\n content_encoding = "identity"\n username = "writer"\n password = "{s.token["write"]}"\n',
    }
    for name, output in outputs.items():
        s = Server(varve, Path(work) / "telegraf")
        s.start()
        (s.work / "lines").write_text("\n".join(lines) + "\n")
        (s.work / "conf").write_text(
            '[agent]\n omit_hostname = true\n metric_batch_size = 700\n metric_buffer_limit = 100000\n precision = "1ns"\n' + output(s) +
            f'[[inputs.file]]\n files = ["{s.work / "lines"}"]\n data_format = "influx"\n')
        for _ in range(2):  # sent twice, it is stored once
            done = subprocess.run([binary, "--config", s.work / "conf", "--once"], capture_output=True, text=True)
            if done.returncode or " E! " in done.stderr or re.search(r" W! \[outputs", done.stderr):
                sys.exit(f"Telegraf {version}, {name}:\n{done.stderr}\n{(s.work / 'log').read_text()}")
        n = compare(f"Telegraf, {name}", s.samples("pump.*", "2026-03-01", "2026-03-02"), want, same_text)
        s.stop()
        print(f"Telegraf {version}, output of {name}: {n} values of {len(want)} tags, as they were, sent twice")

    # The encoder of remote write that Telegraf has is that of Prometheus.
    s = Server(varve, Path(work) / "telegraf")
    s.start()
    numbers = {}
    texts = []
    rng = random.Random(3)
    for i in range(2000):
        at, v = 1_772_366_400_000_000_000 + i * 1_000_000_000, rng.random()
        texts.append(f"tank,unit=T-{i % 30} level={v!r} {at}")
        numbers.setdefault(f"tank_level{{unit=T-{i % 30}}}", {})[at] = v
    (s.work / "lines").write_text("\n".join(texts) + "\n")
    (s.work / "conf").write_text(
        f'[agent]\n omit_hostname = true\n metric_batch_size = 25\n metric_buffer_limit = 100000\n[[outputs.http]]\n url = "http://{s.http}/api/v1/write"\n data_format = "prometheusremotewrite"\n'
        f' [outputs.http.headers]\n  Content-Type = "application/x-protobuf"\n  Content-Encoding = "snappy"\n  X-Prometheus-Remote-Write-Version = "0.1.0"\n  Authorization = "Bearer {s.token["write"]}"\n'
        f'[[inputs.file]]\n files = ["{s.work / "lines"}"]\n data_format = "influx"\n')
    done = subprocess.run([binary, "--config", s.work / "conf", "--once"], capture_output=True, text=True)
    if done.returncode or " E! " in done.stderr:
        sys.exit(f"Telegraf {version}, remote write:\n{done.stderr}\n{(s.work / 'log').read_text()}")
    n = compare("Telegraf, remote write", s.samples("tank_level*", "2026-03-01", "2026-03-02"), numbers, same_text)
    s.stop()
    print(f"Telegraf {version}, remote write: {n} values of {len(numbers)} tags, as they were")


class Exporter(http.server.BaseHTTPRequestHandler):
    scrapes = 0

    def do_GET(self):
        Exporter.scrapes += 1
        n = Exporter.scrapes
        body = f'plant_flow{{unit="P-1",area="a,b=c"}} {n}.{n:03}\nplant_flow{{unit="P-2",area="ü"}} {1 / n!r}\nplant_odd NaN\nplant_far +Inf\n# TYPE plant_starts counter\nplant_starts {n}\n'
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def prometheus(binary, varve, work):
    said = subprocess.run([binary, "--version"], capture_output=True, text=True)
    version = re.search(r"version (\S+)", said.stdout + said.stderr).group(1)
    s = Server(varve, Path(work) / "prom")
    s.start()
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    target = f"127.0.0.1:{exporter.server_address[1]}"
    port = free_port()
    (s.work / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}
scrape_configs:
  - {{job_name: plant, static_configs: [{{targets: ["{target}"]}}]}}
remote_write:
  - url: http://{s.http}/api/v1/write
    authorization: {{credentials: "{s.token["write"]}"}}
    queue_config: {{batch_send_deadline: 500ms, min_backoff: 100ms, max_backoff: 500ms}}
""")
    with open(s.work / "prometheus.log", "w") as log:
        p = subprocess.Popen([binary, f"--config.file={s.work / 'prometheus.yml'}", f"--storage.tsdb.path={s.work / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        started = time.time()
        wait_for(lambda: Exporter.scrapes > 12, p, s)
        s.stop(signal.SIGKILL)  # and what was not answered comes again
        before = Exporter.scrapes
        wait_for(lambda: Exporter.scrapes > before + 8, p, s)
        s.start()
        before = Exporter.scrapes
        wait_for(lambda: Exporter.scrapes > before + 12, p, s)
        exporter.shutdown()
        exporter.server_close()  # the target is down: its series end
        labels = f"instance={target},job=plant"
        names = {
            f'plant_flow{{area=a\\,b=c,{labels},unit=P-1}}': 'plant_flow{unit="P-1"}', f'plant_flow{{area=ü,{labels},unit=P-2}}': 'plant_flow{unit="P-2"}',
            f'plant_odd{{{labels}}}': "plant_odd", f'plant_far{{{labels}}}': "plant_far", f'plant_starts{{{labels}}}': "plant_starts",
        }
        def own(selector):
            """The samples that Prometheus itself has, {nanoseconds: text}."""
            query = urllib.parse.urlencode({"query": selector + "[10m]", "time": time.time()})
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}") as answer:
                result = json.load(answer)["data"]["result"]
            return {round(float(at) * 1000) * 10**6: value for at, value in result[0]["values"]} if result else {}
        start, end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started - 60)), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
        time.sleep(2)
        want = {tag: own(selector) for tag, selector in names.items()}
        if min(len(x) for x in want.values()) < 30:
            sys.exit(f"Prometheus has {[len(x) for x in want.values()]} samples, too few to say anything")
        def arrived():
            try:
                got = s.samples("plant_*", start, end)
            except urllib.error.HTTPError:
                return False
            return sum(map(len, got.values())) >= sum(map(len, want.values()))
        wait_for(arrived, p, s)
        same = lambda a, b: float(a) == float(b) or math.isnan(float(a)) and math.isnan(float(b))
        n = compare("Prometheus", s.samples("plant_*", start, end), want, same)
        # Behind the last sample the tag has no value, and the server says that it is not collected.
        tag = next(iter(names))
        def ended():
            rows = s.ask(read="at_times", tag=tag, times=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1)))
            return rows[1][2] == "" and rows[1][3].startswith("BadNoCommunication")
        wait_for(ended, p, s)
        up = s.samples("up{*", start, end)
        if set(next(iter(up.values())).values()) != {"0", "1"}:
            sys.exit("up never was 0, or never 1")
        print(f"Prometheus {version}, remote write: {n} values of {len(want)} tags, as Prometheus has them, the server killed on the way; series that ended are gaps")
    finally:
        p.terminate()
        p.wait()
        if s.process.poll() is None:
            s.stop()


def wait_for(is_so, agent, server):
    for _ in range(600):
        if is_so():
            return
        if agent.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"it does not come about:\n{(server.work / 'prometheus.log').read_text()[-3000:]}\n{(server.work / 'log').read_text()[-2000:]}")


if __name__ == "__main__":
    {"telegraf": telegraf, "prometheus": prometheus}[sys.argv[1]](*sys.argv[2:])
