"""Devices of pymodbus, over TCP and over a serial line, and what a collector brought of them to a server: devices.py VARVE ADDRESS WORK

Every address that docs/reference/modbus.md has is read: tables, bits, types, orders, scaling. Each value is compared one by one with what was put into the
registers, whose bytes are laid here, and by pymodbus where it can. Then devices are silent, late, gone, or say that they cannot.
"""
import asyncio, csv, io, json, logging, os, pathlib, signal, socket, struct, subprocess, sys, threading, time, tty

import pymodbus
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from report import ran

varve, address, work = sys.argv[1:]
work = pathlib.Path(work)
TIMEOUT = 0.5  # of the collector, seconds
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it dumps what it lost on purpose
children = []
now = lambda: int(time.time() * 1000)


def until(what, check, seconds=60):
    deadline = time.time() + seconds
    while not check():
        if time.time() > deadline:
            print((work / "log").read_text()[-3000:])
            sys.exit(f"Modbus: waited {seconds} s for: {what}")
        time.sleep(0.05)


# What is read of a unit: its address, the type of its tag, and what it must be.
NUMBERS = {
    "int16": ("h", -12345), "uint16": ("H", 54321), "int32": ("i", -1234567890), "uint32": ("I", 4000000001), "int64": ("q", -(2**62) - 12345), "uint64": ("Q", 2**64 - 2),
    "float32": ("f", -12.53125), "float64": ("d", 0.1),
}
PYMODBUS = {
    "int16": "INT16", "uint16": "UINT16", "int32": "INT32", "uint32": "UINT32", "int64": "INT64", "uint64": "UINT64", "float32": "FLOAT32", "float64": "FLOAT64",
}
TYPES = {"float32": "float32", "float64": "float64", "uint64": "uint64"}  # the others are int64


def registers_of(form, order):
    """The registers of a number, laid by hand; by pymodbus too in the orders that it has."""
    code, value = NUMBERS[form]
    raw = struct.pack(">" + code, value)
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    if order in ("cdab", "dcba"):
        words.reverse()
    if order in ("badc", "dcba"):
        words = [w[::-1] for w in words]
    out = [int.from_bytes(w, "big") for w in words]
    if order in ("abcd", "cdab"):
        theirs = ModbusClientMixin.convert_to_registers(value, getattr(ModbusClientMixin.DATATYPE, PYMODBUS[form]), word_order="big" if order == "abcd" else "little")
        if theirs != out:
            sys.exit(f"Modbus: {form} {order} is {out} here and {theirs} in pymodbus")
    return out


class Unit:
    """A device, and what goes wrong with it."""

    def __init__(self, number):
        self.number = number
        self.tables = {"coil": {}, "discrete": {}, "holding": {}, "input": {}}
        self.want = {}  # address to (tag type, value, quality)
        self.tags = {}  # address to further settings of its tag
        self.exceptions = {}  # address of a register to the exception it answers with
        self.late_every = 0  # each so many-th answer comes too late
        self.silent = False
        self.asked = 0

    def put(self, table, at, words, address, kind, value, quality="Good", **tag):
        for i, w in enumerate(words):
            self.tables[table][at + i] = w
        a = f"{self.number}/{table}:{address}"
        self.want[a] = (kind, value, quality)
        self.tags[a] = tag

    def everything(self):
        """Every table, type and order, scaled ones, and what is no number."""
        for i in range(40):
            for table in "coil", "discrete":
                bit = (i * 7 + (table == "coil") + self.number) % 3 == 0
                self.put(table, 3 * i + 1, [bit], f"{3 * i + 1}", "bool", bit)
        for table in "holding", "input":
            at = 10
            for form in NUMBERS:
                for order in "abcd", "cdab", "badc", "dcba":
                    words = registers_of(form, order)
                    self.put(table, at, words, f"{at}:{form}:{order}", TYPES.get(form, "int64"), NUMBERS[form][1])
                    at += len(words) + 1
            self.put(table, at, [0xA5C3], f"{at}", "int64", 0xA5C3)
            for bit in 0, 1, 7, 8, 15:
                self.put(table, at, [0xA5C3], f"{at}.{bit}", "bool", bool(0xA5C3 >> bit & 1))
            self.put(table, at + 2, [0x1234, 0x5678], f"{at + 2}:bcd16", "int64", 1234)
            self.put(table, at + 2, [0x1234, 0x5678], f"{at + 2}:bcd32", "int64", 12345678)
            self.put(table, at + 2, [0x1234, 0x5678], f"{at + 2}:bcd32:cdab", "int64", 56781234)
            self.put(table, at + 4, [0x12A4], f"{at + 4}:bcd16", "int64", None, "BadConfigurationError", type="int64")
            self.put(table, at + 6, [0x502D, 0x3130, 0x3120, 0x0000], f"{at + 6}:string8", "string", "P-101")
            self.put(table, at + 6, [0x502D, 0x3130, 0x3120, 0x0000], f"{at + 6}:string5:abcd", "string", "P-101")
            self.put(table, at + 10, [0x2D50, 0x3031, 0x2031], f"{at + 10}:string6:badc", "string", "P-101")
            self.put(table, at + 14, registers_of("int16", "abcd"), f"{at + 14}:int16", "float64", -12345 * 0.1 + 20, factor=0.1, offset=20)
            self.put(table, at + 16, registers_of("float32", "cdab"), f"{at + 16}:float32:cdab", "float64", -12.53125 * 2.5, factor=2.5)
            self.put(table, at + 19, registers_of("uint32", "dcba"), f"{at + 19}:uint32:dcba@100ms", "float64", 4000000001.0, type="float64")
            self.put(table, at + 23, registers_of("float64", "abcd"), f"{at + 23}:float64", "float64", 0.1)  # alone: a device has 125 registers and more
        far = 40000
        self.put("holding", far, [77], f"{far}", "int64", 77)
        self.put("holding", far + 2, [], f"{far + 2}", "int64", None, "BadConfigurationError", type="int64")  # there is none
        self.put("holding", far + 4, [79], f"{far + 4}", "int64", 79)
        for at, code, quality in (
            (41000, ExcCodes.DEVICE_FAILURE, "BadDeviceFailure"), (42000, ExcCodes.DEVICE_BUSY, "BadNoCommunication"), (43000, ExcCodes.ILLEGAL_FUNCTION, "BadConfigurationError"),
        ):
            self.exceptions[at] = code
            self.put("holding", at, [1], f"{at}", "int64", None, quality, type="int64")
        return self

    async def action(self, _function, _start, at, _count, _current, _values):
        self.asked += 1
        if self.late_every and self.asked % self.late_every == 0:
            await asyncio.sleep(1.3 * TIMEOUT)
        return self.exceptions.get(at)

    def device(self):
        blocks = []
        for table in "coil", "discrete", "holding", "input":
            runs = []
            for at, w in sorted(self.tables[table].items()):
                if runs and runs[-1][0] + len(runs[-1][1]) == at:
                    runs[-1][1].append(w)
                else:
                    runs.append((at, [w]))
            kind = DataType.BITS if table in ("coil", "discrete") else DataType.REGISTERS
            blocks.append([SimData(at, values=words, datatype=kind) for at, words in runs] or [SimData(0, values=[False] if kind == DataType.BITS else [0], datatype=kind)])
        return SimDevice(id=self.number, simdata=tuple(blocks), action=self.action)


class Server(threading.Thread):
    """Units behind one server of pymodbus, in a loop of its own."""

    def __init__(self, units, make):
        super().__init__(daemon=True)
        self.units = {u.number: u for u in units}
        self.make, self.loop = make, asyncio.new_event_loop()
        self.ready = threading.Event()

    def sent(self, sending, data):
        """Loses the answers of units that are silent. A frame begins with the unit, one of TCP has it behind six bytes."""
        unit = self.units.get(data[0 if self.serial else 6]) if sending and data else None
        return b"" if unit and unit.silent else data

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.serve())

    async def serve(self):
        self.server = self.make([u.device() for u in self.units.values()], self.sent)
        self.serial = isinstance(self.server, ModbusSerialServer)
        await self.server.serve_forever(background=True)
        self.ready.set()
        await asyncio.Event().wait()

    def end(self):
        """Closes its connections, and takes no more."""
        asyncio.run_coroutine_threadsafe(self.server.shutdown(), self.loop).result(30)

    def begin(self):
        self.start()
        if not self.ready.wait(30):
            sys.exit("Modbus: a server of pymodbus did not begin")
        return self


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def over_tcp(port):
    return lambda devices, sent: ModbusTcpServer(devices, address=("127.0.0.1", port), trace_packet=sent)


def serial_line():
    """The two ends of a line: pseudo terminals, and what carries bytes from one to the other."""
    ends, names = [], []
    for _ in range(2):
        master, slave = os.openpty()
        tty.setraw(slave)
        ends.append(master)
        names.append(os.ttyname(slave))  # the slave stays open: without anybody at it the other side would read errors

    def carry(a, b):
        while True:
            os.write(b, os.read(a, 4096))

    for a, b in (ends, ends[::-1]):
        threading.Thread(target=carry, args=(a, b), daemon=True).start()
    return names


# A pseudo terminal has no parity, and the library of pymodbus insists on what it asks for.
def over_line(name):
    return lambda devices, sent: ModbusSerialServer(
        devices, port=name, baudrate=38400, trace_packet=sent, ignore_missing_devices=True)


def tag(source, a):
    return f"{source}.{a}"


def source(name, url, units, more=""):
    lines = [f"- name: {name}\n  type: modbus\n  settings: {{url: {url!r}, every: 200ms, timeout: {TIMEOUT}s{more}}}\n  tags:"]
    for u in units:
        for a in u.want:
            settings = {"address": a, "tag": tag(name, a), **u.tags.get(a, {})}
            lines.append("  - " + json.dumps(settings))
    return "\n".join(lines) + "\n"


def ask(*command):
    p = subprocess.run([varve, *command, "--server", address], capture_output=True, text=True)
    if p.returncode != 0 and "no tag" not in p.stderr and "not found" not in p.stderr:
        sys.exit(f"Modbus: varve {' '.join(command)}: {p.stderr}")
    return list(csv.DictReader(io.StringIO(p.stdout)))


def samples(of):
    return ask("query", "--output", "csv", "--start", "min", "--end", "max", of)


def newest(of):
    rows = samples(of)
    return rows[-1] if rows else None


def gaps(of):
    return ask("gaps", "list", "--output", "csv", "--start", "min", of)


def same(got, value, kind):
    if value is None:
        return got == ""
    if kind == "bool":
        return got == str(value).lower()
    if kind == "float32":
        return struct.pack("f", float(got)) == struct.pack("f", value)
    if kind == "float64":
        return struct.pack("d", float(got)) == struct.pack("d", value)
    return int(got) == value if kind in ("int64", "uint64") else got == value


def compare(name, units):
    """Every sample of every tag is what its registers say; the types are those of the page."""
    n, wrong = 0, []
    for u in units:
        for a, (kind, value, quality) in u.want.items():
            of = tag(name, a)
            rows = samples(of)
            if not rows:
                wrong.append(f"{of} has no samples")
            for r in rows:
                n += 1
                if not same(r["value"], value, kind) or r["quality"] != quality:
                    wrong.append(f"{of} has {r['value']} {r['quality']} at {r['time']}, its registers say {value!r} {quality}")
            is_of = json.loads(subprocess.run([varve, "tags", "list", "--output", "json", "--server", address, of], capture_output=True, text=True, check=True).stdout)["type"]
            if is_of != kind:
                wrong.append(f"{of} is of type {is_of}, must be {kind}")
    if wrong:
        print((work / "log").read_text()[-3000:])
        sys.exit("Modbus: " + "\n".join(wrong[:20]) + f"\n{len(wrong)} differ")
    return n


def silence(name, silent, others):
    """A unit that does not answer gets a gap of its own, and values again when it answers; the others go on meanwhile."""
    first, other = tag(name, next(iter(silent.want))), tag(name, next(iter(others.want)))
    count = len(samples(other))
    silent.silent = True
    down = lambda: [g for g in gaps(first) if g["kind"] == "device_down"]
    until(f"the gap of {first}", lambda: any(not g["end"] for g in down()))
    if f"unit {silent.number}" not in down()[-1]["reason"]:
        sys.exit(f"Modbus: the gap of {first} does not say which unit: {down()}")
    until(f"more of {other} while unit {silent.number} is silent", lambda: len(samples(other)) > count + 3)
    if any(f"unit {silent.number} " in g["reason"] for g in gaps(other)):
        sys.exit(f"Modbus: {other} has gaps of unit {silent.number}: {gaps(other)}")
    for a in silent.want:
        if not any(g["kind"] == "device_down" and not g["end"] for g in gaps(tag(name, a))):
            sys.exit(f"Modbus: {tag(name, a)} has no open gap while its unit is silent")
    before = len(samples(first))
    silent.silent = False
    until(f"values of {first} again", lambda: len(samples(first)) > before)
    until(f"the end of the gap of {first}", lambda: all(g["end"] for g in down()))


def late(name, unit):
    """Answers that come too late are nobody's: compare, which follows, looks at every value."""
    a = tag(name, next(iter(unit.want)))
    before = len([g for g in gaps(a) if g["kind"] == "device_down"])
    unit.late_every = 5
    until("answers that were late", lambda: len([g for g in gaps(a) if g["kind"] == "device_down"]) > before + 1)
    unit.late_every = 0
    count = len(samples(a))
    until(f"values of {a} after those that were late", lambda: len(samples(a)) > count)


def main():
    work.mkdir(parents=True, exist_ok=True)
    tcp, absent = free_port(), free_port()
    server_end, collector_end = serial_line()
    on_tcp = [Unit(1).everything(), Unit(2)]
    on_line = [Unit(3).everything(), Unit(4)]
    later = Unit(1)
    for u in on_tcp[1], on_line[1], later:
        for at in 0, 1000, 2000:  # three requests of which each answer has the same length
            u.put("holding", at, registers_of("float32", "abcd") if at == 1000 else [0x4048, at], f"{at}:float32", "float32",
                  -12.53125 if at == 1000 else struct.unpack(">f", struct.pack(">HH", 0x4048, at))[0])
    Server(on_tcp, over_tcp(tcp)).begin()
    Server(on_line, over_line(server_end)).begin()
    (work / "collect.yaml").write_text(f"""
collector: interop-modbus
destinations: [{{address: "{address}"}}]
queue: {{dir: {work}/queue}}
health: {{off: true}}
sources:
{source("MBTCP", f"tcp://127.0.0.1:{tcp}", on_tcp)}
{source("MBRTU", f"rtu://{collector_end}", on_line, ", speed: 38400, parity: even")}
{source("MBGONE", f"tcp://127.0.0.1:{absent}", [later])}
""")
    log = open(work / "log", "a")
    children.append(subprocess.Popen([varve, "collect", "--config", str(work / "collect.yaml")], stdout=log, stderr=log))
    for name, units in ("MBTCP", on_tcp), ("MBRTU", on_line):
        for u in units:
            for a in u.want:
                until(f"a sample of {tag(name, a)}", lambda: newest(tag(name, a)))
    gone = tag("MBGONE", next(iter(later.want)))
    time.sleep(2)  # nobody listens there
    first = Server([later], over_tcp(absent)).begin()
    until(f"values of {gone}, whose device came", lambda: newest(gone))
    first.end()
    until(f"the gap of {gone}, whose device is gone", lambda: any(g["kind"] == "device_down" and not g["end"] for g in gaps(gone)))
    Server([later], over_tcp(absent)).begin()
    until(f"the end of the gap of {gone}, whose device came back", lambda: all(g["end"] for g in gaps(gone)))
    for name, units in ("MBTCP", on_tcp), ("MBRTU", on_line):
        silence(name, units[1], units[0])
        late(name, units[1])
    children[0].send_signal(signal.SIGTERM)
    if children[0].wait(30) != 0:
        sys.exit("Modbus: the collector did not end well")
    at = {name: compare(name, units) for name, units in (("MBTCP", on_tcp), ("MBRTU", on_line), ("MBGONE", [later]))}
    addresses = len(on_tcp[0].want) + len(on_tcp[1].want)
    ran("pymodbus (TCP)", pymodbus.__version__, "ingest", f"{addresses} addresses of every table, type and order, {at['MBTCP'] + at['MBGONE']} samples, each as its registers say; exceptions, silence, late answers, a device that comes later")
    ran("pymodbus (RTU)", pymodbus.__version__, "ingest", f"the same over a serial line of pseudo terminals, {at['MBRTU']} samples")


try:
    main()
finally:
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()
