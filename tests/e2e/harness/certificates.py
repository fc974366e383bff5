"""Certificates, made on the spot."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def _pem(key):
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


class Authority:
    """Somebody who vouches for others."""

    def __init__(self, name="test"):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = self._begun(self._name, self._key, DAY)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = built.sign(self._key, hashes.SHA256())
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def _begun(self, subject, key, good_for):
        now = datetime.datetime.now(datetime.timezone.utc)
        begun = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        begun = begun.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return begun.not_valid_before(now - 2 * DAY).not_valid_after(now + good_for)

    def issue(self, *names, good_for=DAY):
        """A certificate for DNS names, addresses and URIs, and its key, both in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = self._begun(x509.Name([]), key, good_for)
        built = built.add_extension(
            x509.SubjectAlternativeName([_general(n) for n in names]), critical=True
        )
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        built = built.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        signed = built.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM), _pem(key)


def _general(name):
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def write(directory, certificate, key):
    """Puts both in the place of those before; returns the paths."""
    paths = directory / "cert.pem", directory / "key.pem"
    for path, pem in zip(paths, (certificate, key), strict=True):
        beside = path.with_suffix(".new")
        beside.write_bytes(pem)
        beside.chmod(0o640)
        beside.rename(path)
    return paths
