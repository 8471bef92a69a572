"""A plant behind asyncua: asyncua_server.py URL FOLDER [authority]. It says ready, and when the file go is there it changes its variables, and writes what
a reader must have to expected.csv: tag, nanoseconds, value, status code. With authority its certificate is signed by one, which lies in authority.der, and
whose lists of revoked certificates are none.crl, without it, and revoked.crl, with it; and only user op with password right may log on."""
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
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

url, folder = sys.argv[1:3]
signed = sys.argv[3:] == ["authority"]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def ns(t):
    d = t - EPOCH
    return (d.days * 86400 + d.seconds) * 10**9 + d.microseconds * 1000


def write(name, b):
    with open(os.path.join(folder, name), "wb") as f:
        f.write(b)


def sign():
    """The server's key and certificate, by an authority, and the authority's lists."""
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    authority_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant authority")])
    usage = dict.fromkeys(["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
                           "crl_sign", "encipher_only", "decipher_only"], False)

    def certificate(name, public, more):
        c = x509.CertificateBuilder().subject_name(name).issuer_name(authority).public_key(public).serial_number(x509.random_serial_number())
        c = c.not_valid_before(now - day).not_valid_after(now + day)
        for extension, critical in more:
            c = c.add_extension(extension, critical)
        return c.sign(authority_key, hashes.SHA256())

    own = certificate(authority, authority_key.public_key(), [
        (x509.BasicConstraints(True, None), True), (x509.KeyUsage(**usage | {"key_cert_sign": True, "crl_sign": True}), True)])
    server = certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "interop")]), key.public_key(), [
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:varve:interop:asyncua"), x509.DNSName("localhost")]), False),
        (x509.KeyUsage(**usage | {"digital_signature": True, "content_commitment": True, "key_encipherment": True, "data_encipherment": True}), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
    write("authority.der", own.public_bytes(serialization.Encoding.DER))
    write("cert.der", server.public_bytes(serialization.Encoding.DER))
    write("key.pem", key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    for name, revoked in (("none.crl", []), ("revoked.crl", [server.serial_number])):
        crl = x509.CertificateRevocationListBuilder().issuer_name(authority).last_update(now - day).next_update(now + day)
        for serial in revoked:
            crl = crl.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
        write(name, crl.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


class Users:
    """Who may log on where an authority signed: op alone."""

    def get_user(self, iserver, username=None, password=None, certificate=None):
        return User(role=UserRole.User) if (username, password) == ("op", "right") else None


async def main():
    server = Server(user_manager=Users() if signed else None)
    await server.init()
    server.set_endpoint(url)
    await server.set_application_uri("urn:varve:interop:asyncua")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.der")
    if signed:
        sign()
    else:
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
