"""A plant behind asyncua: asyncua_server.py URL FOLDER. It says ready, and when the file go is there it changes its variables, and writes what
a reader must have to expected.csv: tag, nanoseconds, value, status code."""
import asyncio
import csv
import datetime
import math
import os
import pathlib
import sys
import time
import uuid

from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

url, folder = sys.argv[1:]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def ns(t):
    d = t - EPOCH
    return (d.days * 86400 + d.seconds) * 10**9 + d.microseconds * 1000


async def main():
    server = Server()
    await server.init()
    server.set_endpoint(url)
    await server.set_application_uri("urn:varve:interop:asyncua")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.der")
    await setup_self_signed_certificate(
        pathlib.Path(key), pathlib.Path(cert), "urn:varve:interop:asyncua", "localhost",
        [ExtendedKeyUsageOID.SERVER_AUTH], {"commonName": "interop"})
    await server.load_certificate(cert)
    await server.load_private_key(key)
    index = await server.register_namespace("http://plant/")
    boiler = await server.nodes.objects.add_object(index, "Boiler")
    kinds = {
        "Double": (ua.VariantType.Double, lambda i: [1.5, -0.0, math.pi, 1e300, math.inf][i % 5] * (i + 1)),
        "Float": (ua.VariantType.Float, lambda i: i / 4),
        "Int64": (ua.VariantType.Int64, lambda i: 2**53 + 1 + i),
        "UInt64": (ua.VariantType.UInt64, lambda i: 2**64 - 1 - i),
        "SByte": (ua.VariantType.SByte, lambda i: i % 256 - 128),
        "Boolean": (ua.VariantType.Boolean, lambda i: i % 2 == 0),
        "String": (ua.VariantType.String, lambda i: f"batch {i} Ä"),
        "LocalizedText": (ua.VariantType.LocalizedText, lambda i: ua.LocalizedText(f"text {i}")),
        "Guid": (ua.VariantType.Guid, lambda i: uuid.UUID(int=2**100 + i)),
        "Array": (ua.VariantType.Int32, lambda i: [i, i * 2, i * 3]),
    }
    nodes = {}
    for name, (kind, value) in kinds.items():
        nodes[name] = await boiler.add_variable(ua.NodeId(f"Boiler.{name}", index), name, ua.Variant(value(0), kind))
    unit = ua.EUInformation(NamespaceUri="http://www.opcfoundation.org/UA/units/un/cefact", UnitId=4408652, DisplayName=ua.LocalizedText("°C"))
    await nodes["Double"].add_property(ua.NodeId("Boiler.Double.Units", index), ua.QualifiedName("EngineeringUnits", 0), unit)
    async with server:
        open(os.path.join(folder, "ready"), "w").close()
        while not os.path.exists(os.path.join(folder, "go")):
            await asyncio.sleep(0.05)
        rows = []
        begin = int(time.time()) - 1000
        for i in range(1, 201):
            for k, (name, (kind, value)) in enumerate(kinds.items()):
                status = [0, 0x40930000, 0x808C0000][i % 3] if name == "Double" else 0
                v = value(i)
                at = EPOCH + datetime.timedelta(seconds=begin + i, microseconds=k)
                await server.iserver.aspace.write_attribute_value(nodes[name].nodeid, ua.AttributeIds.Value, ua.DataValue(
                    ua.Variant(v, kind), ua.StatusCode(status), SourceTimestamp=at))
                if name == "Array":
                    for e in (0, 2):
                        rows.append((f"P.Array.{e}", ns(at), repr(v[e]), status))
                else:
                    text = v.Text if name == "LocalizedText" else str(v) if name in ("Guid", "String") else repr(v)
                    rows.append((f"P.{name}", ns(at), text, status))
            await asyncio.sleep(0.005)
        with open(os.path.join(folder, "expected.csv.new"), "w", newline="") as f:
            csv.writer(f).writerows(rows)
        os.rename(os.path.join(folder, "expected.csv.new"), os.path.join(folder, "expected.csv"))
        await asyncio.sleep(3600)


asyncio.run(main())
