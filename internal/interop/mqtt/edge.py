"""Edge nodes and publishers of MQTT against mosquitto, and what a collector brought of them to a server: edge.py VARVE ADDRESS MOSQUITTO WORK

Everything that is sent is written down with its time, and looked for in the server one by one: value, type and quality. Nothing else may be there.
"""
import csv, datetime, io, itertools, json, os, pathlib, signal, socket, struct, subprocess, sys, threading, time

import paho.mqtt.client as paho
import pysparkplug as psp
from pysparkplug._protobuf import Payload

varve, address, mosquitto, work = sys.argv[1:]
work = pathlib.Path(work)
children = []
want = {}  # (tag, ms) to (value, quality)
now = lambda: int(time.time() * 1000)


def run(*command):
    log = open(work / "log", "a")
    children.append(subprocess.Popen(command, stdout=log, stderr=log))
    return children[-1]


def until(what, check, seconds=60):
    deadline = time.time() + seconds
    while not check():
        if time.time() > deadline:
            print((work / "log").read_text()[-3000:])
            sys.exit(f"MQTT: waited {seconds} s for: {what}")
        time.sleep(0.02)


def main():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    (work / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n")
    run(mosquitto, "-c", str(work / "mosquitto.conf"))
    until("mosquitto to listen", lambda: reachable(port))
    (work / "collect.yaml").write_text(f"""
collector: interop-mqtt
destinations: [{{address: "{address}"}}]
queue: {{dir: {work}/queue}}
health: {{off: true}}
sources:
- name: spb
  type: mqtt
  settings:
    broker: mqtt://127.0.0.1:{port}
    sparkplug: {{host_id: varve, reorder: 500ms, rebirth_every: 1s}}
  tags: [{{match: "**", tag: "SPB.{{address}}"}}]
- name: json
  type: mqtt
  settings:
    broker: mqtt://127.0.0.1:{port}
    version: 3
    session: 1h
    topics:
    - filter: plant/{{area}}/telemetry
      readings:
      - {{each: /values, address: "{{area}}.{{./name}}", value: ./v, time: ./t, time_format: unix_ms, quality: ./q}}
    - filter: counter/{{name}}
      readings: [{{address: "{{name}}", value: /v, type: int64, time: /t, time_format: rfc3339}}]
  tags: [{{match: "**", tag: "JSON.{{address}}"}}]
""")
    watcher = Watcher(port)
    collector = run(varve, "collect", "--config", str(work / "collect.yaml"))
    until("the host to say that it is there", lambda: watcher.online)  # as a node does whose primary host it is

    lines = [*pysparkplug_node(port, watcher), *raw_node(port, watcher)]
    collector, line = json_topics(port, collector)
    lines.append(line)
    gaps = compare()
    watcher.client.disconnect()
    collector.send_signal(signal.SIGTERM)
    if collector.wait(30) != 0:
        sys.exit("MQTT: the collector did not end well")
    for line in lines:
        print(line)
    print(f"mosquitto: {len(want)} samples and {gaps} gaps, each as it was sent")


def reachable(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Watcher:
    """Listens to everything, as a third party."""

    def __init__(self, port):
        self.online, self.births, self.commands = False, [], []
        self.client = paho.Client("watcher")
        self.client.on_connect = lambda c, *_: c.subscribe("spBv1.0/#", 1)
        self.client.on_message = self.message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def message(self, _client, _data, m):
        if m.topic == "spBv1.0/STATE/varve":
            self.online = json.loads(m.payload)["online"]
            return
        payload = Payload()
        try:
            payload.ParseFromString(m.payload)
        except Exception:
            return
        if "BIRTH" in m.topic:
            self.births.append((m.topic, payload))
        if "CMD" in m.topic:
            self.commands.append((m.topic, payload))


def expect(tag, at, value, quality="Good"):
    want[(tag, at)] = (value, quality)


# Every type that pysparkplug writes: its values, and those of the tags they become.
SCALARS = {
    "i8": (psp.DataType.INT8, [-128, -1, 127]), "i16": (psp.DataType.INT16, [-30000, 30000]), "i32": (psp.DataType.INT32, [-(2**31), -5, 2**31 - 1]),
    "i64": (psp.DataType.INT64, [-(2**63), 2**53 + 1, 2**63 - 1]), "u8": (psp.DataType.UINT8, [0, 255]), "u16": (psp.DataType.UINT16, [65535]),
    "u32": (psp.DataType.UINT32, [2**32 - 1]), "u64": (psp.DataType.UINT64, [2**64 - 1]), "f": (psp.DataType.FLOAT, [12.5, 0.1, -0.0]),
    "d": (psp.DataType.DOUBLE, [0.1, 1e308, 5e-324]), "b": (psp.DataType.BOOLEAN, [True, False]), "s": (psp.DataType.STRING, ["Test", "größer, \"quoted\""]),
    "t": (psp.DataType.TEXT, ["a\nb"]), "y": (psp.DataType.BYTES, [b"\x00\xff"]),
    "when": (psp.DataType.DATETIME, [datetime.datetime(2026, 11, 26, 8, 0, 0, 125000, datetime.timezone.utc)]),
}
ARRAYS = {
    "ai8": (psp.DataType.INT8_ARRAY, (-23, 123)), "ai16": (psp.DataType.INT16_ARRAY, (-30000, 30000)), "ai64": (psp.DataType.INT64_ARRAY, (-1, 2**62)),
    "au32": (psp.DataType.UINT32_ARRAY, (52, 3293969225)), "af": (psp.DataType.FLOAT_ARRAY, (1.25, 89.5)), "ad": (psp.DataType.DOUBLE_ARRAY, (12.354213, -1.5)),
    "ab": (psp.DataType.BOOLEAN_ARRAY, (False, False, True, True, False, True, False, False, True)), "as": (psp.DataType.STRING_ARRAY, ("ABC", "hello")),
}


def number(x):
    return int(x.timestamp() * 1000) if isinstance(x, datetime.datetime) else x


def pysparkplug_node(port, watcher):
    node = psp.EdgeNode("Plant", "N1", [psp.Metric(now(), "Node Control/Rebirth", psp.DataType.BOOLEAN, value=False), psp.Metric(now(), "volts", psp.DataType.DOUBLE, value=12.0)])
    expect("SPB.Plant/N1//volts", node.metrics["volts"].timestamp, 12.0)
    at = now()
    metrics = [psp.Metric(at, name, kind, value=values[0]) for name, (kind, values) in SCALARS.items()]
    metrics += [psp.Metric(at, name, kind, value=values) for name, (kind, values) in ARRAYS.items()]
    for name, (_, values) in SCALARS.items():
        expect(f"SPB.Plant/N1/D1/{name}", at, number(values[0]))
    for name, (_, values) in ARRAYS.items():
        for i, v in enumerate(values):
            expect(f"SPB.Plant/N1/D1/{name}[{i}]", at, v)
    node.register(psp.Device("D1", metrics))
    node.connect("127.0.0.1", port=port)
    until("the births", lambda: len(watcher.births) >= 2)
    at = max(now(), at) + 1
    for step in range(1, 3):
        for name, (kind, values) in SCALARS.items():
            if step < len(values):
                node.update_device("D1", [psp.Metric(at + step, name, kind, value=values[step])])
                expect(f"SPB.Plant/N1/D1/{name}", at + step, number(values[step]))
    for i in range(600):  # seq goes round twice
        node.update([psp.Metric(at + 10 + i, "volts", psp.DataType.DOUBLE, value=i / 7)])
        expect("SPB.Plant/N1//volts", at + 10 + i, i / 7)
    node.update_device("D1", [psp.Metric(at - 60_000, "d", psp.DataType.DOUBLE, value=7.5, is_historical=True)])
    expect("SPB.Plant/N1/D1/d", at - 60_000, 7.5)
    node.update_device("D1", [psp.Metric(at + 20, "d", psp.DataType.DOUBLE, is_null=True)])
    expect("SPB.Plant/N1/D1/d", at + 20, None, "BadNoData")
    until("the newest sample", lambda: has("SPB.Plant/N1//volts", at + 609))
    node.deregister("D1")
    time.sleep(0.05)
    again = now()
    node.register(psp.Device("D1", [psp.Metric(again, "d", psp.DataType.DOUBLE, value=3.25)]))
    expect("SPB.Plant/N1/D1/d", again, 3.25)
    until("the second birth of the device", lambda: has("SPB.Plant/N1/D1/d", again))
    node.disconnect()
    until("the gap at the death of the node", lambda: open_gap("SPB.Plant/N1//volts"))
    return ["pysparkplug (edge node): births and data of 15 types and 8 arrays, 600 messages, nulls, historical values, deaths of a device and the node"]


def raw_node(port, watcher):
    """What pysparkplug does not write: aliases alone, qualities, messages that are lost or broken."""
    c = paho.Client("raw")
    c.connect("127.0.0.1", port)
    c.loop_start()
    seq = itertools.count()

    def send(kind, metrics, seq_of=None, at=None):
        p = Payload(timestamp=at or now(), seq=next(seq) % 256 if seq_of is None else seq_of)
        for name, alias, value, when, code in metrics:
            m = p.metrics.add(timestamp=when, double_value=value)
            if name:
                m.name, m.datatype = name, 10
            if alias is not None:
                m.alias = alias
            if kind == "NBIRTH" and name == "a":
                for key, text in ("engUnit", "Cel"), ("documentation", "of the furnace"):
                    m.properties.keys.append(key)
                    m.properties.values.add(type=12, string_value=text)
            if code is not None:
                m.properties.keys.append("Quality")
                m.properties.values.add(type=3, int_value=code)
        c.publish(f"spBv1.0/Plant/{kind}/RAW", p.SerializeToString(), 0).wait_for_publish()

    def birth(first, second):
        nonlocal seq
        seq = itertools.count()
        at = now()
        p = [("a", first, 1.0, at, None), ("b", second, 2.0, at, None)]
        send("NBIRTH", p)
        expect("SPB.Plant/RAW//a", at, 1.0)
        expect("SPB.Plant/RAW//b", at, 2.0)
        until("the birth", lambda: has("SPB.Plant/RAW//b", at))
        return at

    at = birth(1, 2)
    for i, (code, name) in enumerate([(192, "Good"), (0, "Bad"), (500, "UncertainLastUsableValue")], 1):
        send("NDATA", [(None, 1, i + 0.5, at + i, code)])
        expect("SPB.Plant/RAW//a", at + i, i + 0.5, name)
    before = len(watcher.commands)
    next(seq)  # one is lost
    send("NDATA", [(None, 2, 9.0, at + 5, None)])  # its alias may be another's: it is not taken
    until("the request for a rebirth", lambda: len(watcher.commands) > before)
    topic, payload = watcher.commands[-1]
    request = payload.metrics[0]
    if topic != "spBv1.0/Plant/NCMD/RAW" or request.name != "Node Control/Rebirth" or request.datatype != 11 or not request.boolean_value or payload.HasField("seq"):
        sys.exit(f"MQTT: {topic} is no request for a rebirth: {payload}")
    at = birth(2, 1)  # they are
    send("NDATA", [(None, 1, 21.0, at + 1, None), (None, 2, 22.0, at + 1, None)])
    expect("SPB.Plant/RAW//b", at + 1, 21.0)
    expect("SPB.Plant/RAW//a", at + 1, 22.0)
    c.publish("spBv1.0/Plant/NDATA/RAW", b"\x12\xff\xff", 0).wait_for_publish()
    send("NDATA", [(None, 1, 23.0, at + 2, None)])
    expect("SPB.Plant/RAW//b", at + 2, 23.0)
    until("the data behind a broken message", lambda: has("SPB.Plant/RAW//b", at + 2))
    c.loop_stop()
    c.disconnect()
    return ["raw frames: aliases alone, qualities 192, 0 and 500, a message lost and the rebirth it takes, a broken one"]


def json_topics(port, collector):
    c = paho.Client("publisher")
    c.connect("127.0.0.1", port)
    c.loop_start()
    base = now()
    sent = 0

    def send(n):
        nonlocal sent
        for _ in range(n):
            at = base + sent
            q = ["Good", "Uncertain", "BadSensorFailure"][sent % 3]
            values = [{"name": "T", "v": sent / 3, "t": at, "q": q}, {"name": "on", "v": sent % 2 == 0, "t": at, "q": "Good"}]
            c.publish("plant/A1/telemetry", json.dumps({"values": values}), 1)
            expect("JSON.A1.T", at, sent / 3, q)
            expect("JSON.A1.on", at, sent % 2 == 0)
            count = 2**53 + sent
            text = datetime.datetime.fromtimestamp(at / 1000, datetime.timezone.utc).isoformat()
            c.publish("counter/pulses", json.dumps({"v": count, "t": text}), 1).wait_for_publish()
            expect("JSON.pulses", at, count)
            sent += 1

    send(50)
    until("the first of the topics", lambda: has("JSON.pulses", base))
    collector.send_signal(signal.SIGKILL)
    collector.wait()
    send(300)  # the broker keeps them
    collector = run(varve, "collect", "--config", str(work / "collect.yaml"))
    time.sleep(0.5)
    collector.send_signal(signal.SIGKILL)
    collector.wait()
    send(50)
    collector = run(varve, "collect", "--config", str(work / "collect.yaml"))
    send(50)
    until("the last of the topics", lambda: has("JSON.pulses", base + sent - 1))
    c.loop_stop()
    c.disconnect()
    return collector, f"mosquitto, JSON topics over 3.1.1: {sent} messages twice, the collector killed twice in between, none lost"


def ask(*command):
    p = subprocess.run([varve, *command, "--server", address], capture_output=True, text=True)
    if p.returncode != 0 and "no tag" not in p.stderr and "not found" not in p.stderr:
        sys.exit(f"MQTT: varve {' '.join(command)}: {p.stderr}")
    return list(csv.DictReader(io.StringIO(p.stdout)))


def milliseconds(text):
    whole, _, fraction = text.rstrip("Z").partition(".")
    at = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return int(at.timestamp()) * 1000 + int((fraction + "000")[:3]), fraction[3:]


def has(tag, at):
    moment = datetime.datetime.fromtimestamp(at // 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + f".{at % 1000:03}Z"
    return bool(ask("query", "--output", "csv", "--start", moment, "--end", moment, tag))


def open_gap(tag):
    return any(not g["end"] for g in ask("gaps", "list", "--output", "csv", "--start", "min", tag))


def same(got, value):
    if value is None:
        return got == ""
    if isinstance(value, bool):
        return got == str(value).lower()
    if isinstance(value, float):
        return struct.pack("d", float(got)) == struct.pack("d", value) or struct.pack("f", float(got)) == struct.pack("f", value)
    if isinstance(value, int):
        return int(got) == value
    if isinstance(value, bytes):
        import base64
        return base64.b64decode(got) == value
    return got == value


def compare():
    tags = sorted({tag for tag, _ in want})
    wrong, seen = [], set()
    until("all samples", lambda: sum(1 for t in tags for _ in ask("query", "--output", "csv", "--start", "min", "--end", "max", t)) >= len(want))
    for tag in tags:
        for r in ask("query", "--output", "csv", "--start", "min", "--end", "max", tag):
            at, rest = milliseconds(r["time"])
            value, quality = want.get((tag, at), (None, None))
            if quality is None or rest or (tag, at) in seen:
                wrong.append(f"{tag} has {r['value']} {r['quality']} at {r['time']}, which was not sent")
            elif not same(r["value"], value) or r["quality"] != quality:
                wrong.append(f"{tag} has {r['value']} {r['quality']} at {r['time']}, sent was {value!r} {quality}")
            seen.add((tag, at))
    wrong += [f"{tag} has nothing at {at}, sent was {want[tag, at]}" for tag, at in sorted(set(want) - seen)]
    if wrong:
        print((work / "log").read_text()[-3000:])
        sys.exit("MQTT: " + "\n".join(wrong[:20]) + f"\n{len(wrong)} differ")
    gaps = {tag: ask("gaps", "list", "--output", "csv", "--start", "min", tag) for tag in tags}
    for tag, kind, reason in [("SPB.Plant/N1/D1/d", "device_down", "DDEATH"), ("SPB.Plant/N1//volts", "device_down", "NDEATH"), ("SPB.Plant/RAW//a", "lost", "missing"),
                              ("SPB.Plant/RAW//b", "device_down", "alias")]:
        if not any(g["kind"] == kind and reason in g["reason"] for g in gaps[tag]):
            sys.exit(f"MQTT: {tag} has no gap of kind {kind} that says {reason}: {gaps[tag]}")
    a = json.loads(subprocess.run([varve, "tags", "list", "--output", "json", "--server", address, "SPB.Plant/RAW//a"], capture_output=True, text=True, check=True).stdout)
    if a["unit"] != "Cel" or a["description"] != "of the furnace":
        sys.exit(f"MQTT: the birth told a unit and a description, the tag has {a}")
    return sum(len(g) for g in gaps.values())


try:
    main()
finally:
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()
