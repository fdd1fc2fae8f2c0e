"""Who signed a request: signature versions 4 and 2, in the header or in the query.

Source: S3 API Reference, "Authenticating requests (AWS Signature Version 4)"; for version 2 "Signing and authenticating
REST requests".
"""

import base64
import calendar
import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, quote, unquote

from nutshell.core.cloud import Cloud
from nutshell.identity.port import Ec2Credential, Identity
from nutshell.object_store.s3 import chunked
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Request

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_S = 15 * 60
LONGEST_S = 7 * 24 * 3600
# What a signature of version 2 covers of the query.
SUBRESOURCES = frozenset(
    {
        "acl",
        "cors",
        "delete",
        "lifecycle",
        "location",
        "logging",
        "notification",
        "partNumber",
        "policy",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "object-lock",
        "publicAccessBlock",
        "ownershipControls",
        "encryption",
        "replication",
        "accelerate",
        "inventory",
        "metrics",
        "analytics",
        "retention",
        "legal-hold",
        "restore",
        "attributes",
    }
)


@dataclass(frozen=True)
class Signed:
    """The parts of a version 4 signature. `expires`: seconds, of a presigned URL; 0 for a header."""

    access: str
    date: str
    region: str
    service: str
    names: tuple[str, ...]
    signature: str
    when: str
    expires: int = 0

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def authenticate(cloud: Cloud, req: Request, regions: Iterable[str]) -> None:
    """Set who asks, and how the body is wrapped. Nobody signed: it stays nobody's. S3Error for a wrong signature."""
    said = req.headers.get("authorization", "")
    if "X-Amz-Algorithm" in req.query or "X-Amz-Signature" in req.query:
        if said:
            raise S3Error("InvalidArgument", "Only one auth mechanism allowed")
        _four(cloud, req, _presigned(req), regions)
    elif said.startswith("AWS4"):
        _four(cloud, req, _header(req, said), regions)
    elif said.startswith("AWS "):
        _two(cloud, req, said[4:].strip())
    elif "AWSAccessKeyId" in req.query or "Signature" in req.query:
        if said:
            raise S3Error("InvalidArgument", "Only one auth mechanism allowed")
        _two_presigned(cloud, req)
    elif said:
        raise S3Error("InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization",
                      ArgumentValue=said)  # fmt: skip
    else:
        chunked.unwrap(req, None)


def credential(cloud: Cloud, access: str) -> Ec2Credential:
    found = cloud.port(Identity).ec2_credential(access) if access else None
    if found is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=access)
    return found


# -- version 4
def _header(req: Request, said: str) -> Signed:
    algorithm, _, rest = said.partition(" ")
    if algorithm != ALGORITHM:
        raise S3Error("InvalidArgument", "Unsupported Authorization Type")
    parts = dict(p.strip().partition("=")[::2] for p in rest.split(",") if p.strip())
    missing = [n for n in ("Credential", "SignedHeaders", "Signature") if not parts.get(n)]
    if missing:
        raise S3Error(
            "AuthorizationHeaderMalformed", f"The authorization header is malformed; {missing[0]} is missing."
        )
    if not req.headers.get("x-amz-content-sha256"):
        raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    when = req.headers.get("x-amz-date", "")
    if not when:
        moment = http_seconds(req.headers.get("date", ""))
        if moment is None:
            raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))
    return _signed(
        "AuthorizationHeaderMalformed", parts["Credential"], parts["SignedHeaders"], parts["Signature"], when
    )


def _presigned(req: Request) -> Signed:
    query, code = req.query, "AuthorizationQueryParametersError"
    names = (
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Signature",
        "X-Amz-Date",
        "X-Amz-SignedHeaders",
        "X-Amz-Expires",
    )
    if any(not query.get(n) for n in names):
        raise S3Error(code, "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential,"
                            " X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires"
                            " parameters.")  # fmt: skip
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise S3Error(code, 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    text = query["X-Amz-Expires"]
    if not text.removeprefix("-").isdecimal() or len(text) > 20 or int(text) >= 1 << 63:
        raise S3Error(code, "X-Amz-Expires should be a number")
    seconds = int(text)
    if seconds < 0:
        raise S3Error(code, "X-Amz-Expires must be non-negative")
    if seconds > LONGEST_S:
        raise S3Error(code, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires"
                            " must be less than 604800 seconds")  # fmt: skip
    found = _signed(code, query["X-Amz-Credential"], query["X-Amz-SignedHeaders"], query["X-Amz-Signature"],
                    query["X-Amz-Date"])  # fmt: skip
    return Signed(found.access, found.date, found.region, found.service, found.names, found.signature, found.when,
                  max(1, seconds))  # fmt: skip


def _signed(code: str, credential: str, names: str, signature: str, when: str) -> Signed:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise S3Error(code, "The Credential is mal-formed; expecting"
                            ' "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')  # fmt: skip
    if stamp_seconds(when) is None:
        if code.startswith("AuthorizationQuery"):
            raise S3Error(code, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
        raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    return Signed(parts[0], parts[1], parts[2], parts[3], tuple(names.lower().split(";")), signature, when)


def _four(cloud: Cloud, req: Request, signed: Signed, regions: Iterable[str]) -> None:
    code = "AuthorizationQueryParametersError" if signed.expires else "AuthorizationHeaderMalformed"
    allowed = list(regions)
    if signed.region not in allowed:
        raise S3Error(code, f"The authorization is malformed; the region '{signed.region}' is wrong; expecting"
                            f" '{allowed[0]}'", Region=allowed[0])  # fmt: skip
    if signed.service != "s3":
        raise S3Error(code, f'Error parsing the Credential; incorrect service "{signed.service}". This endpoint belongs'
                            ' to "s3".')  # fmt: skip
    if not signed.when.startswith(signed.date):
        raise S3Error(code, f'Invalid credential date "{signed.date}". This date is not the same as X-Amz-Date:'
                            f' "{signed.when[:8]}".')  # fmt: skip
    _timely(cloud, req, signed)
    if "host" not in signed.names:
        raise S3Error("AccessDenied", "There were headers present in the request which were not signed",
                      HeadersNotSigned="host")  # fmt: skip
    bare = sorted(n for n in req.headers if n.startswith("x-amz-") and n not in signed.names)
    if bare and not (signed.expires and bare == ["x-amz-content-sha256"]):
        raise S3Error("AccessDenied", "There were headers present in the request which were not signed",
                      HeadersNotSigned=", ".join(bare))  # fmt: skip
    found = credential(cloud, signed.access)
    payload = "UNSIGNED-PAYLOAD" if signed.expires else req.headers["x-amz-content-sha256"]
    if signed.expires and req.headers.get("x-amz-content-sha256"):
        payload = req.headers["x-amz-content-sha256"]
    request = _canonical(req, signed, payload)
    to_sign = "\n".join((ALGORITHM, signed.when, signed.scope, hashlib.sha256(request).hexdigest()))
    key = found.signing_key(signed.date, signed.region, signed.service)
    right = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right, signed.signature):
        raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=signed.access, StringToSign=to_sign,
                      SignatureProvided=signed.signature,
                      CanonicalRequest=request.decode("utf-8", "replace"))  # fmt: skip
    _known(req, found)
    chunked.unwrap(req, chunked.Seed(key, signed.when, signed.scope, right, request, not signed.expires), payload)


def _timely(cloud: Cloud, req: Request, signed: Signed) -> None:
    now, moment = cloud.clock.real(), stamp_seconds(signed.when) or 0
    if not signed.expires:
        if abs(now - moment) > SKEW_S:
            raise _skewed(signed.when, now)
    elif moment > now + SKEW_S:
        raise S3Error("AccessDenied", "Request is not yet valid")
    elif now > moment + signed.expires:
        raise S3Error(
            "AccessDenied", "Request has expired", Expires=_iso(moment + signed.expires), ServerTime=_iso(now)
        )


def _canonical(req: Request, signed: Signed, payload: str) -> bytes:
    pairs = parse_qsl(req.raw_query, keep_blank_values=True, encoding="utf-8", errors="surrogateescape")
    kept = sorted((_encode(k), _encode(v)) for k, v in pairs if k != "X-Amz-Signature")
    query = "&".join(f"{k}={v}" for k, v in kept)
    path = quote(unquote(req.raw_path, errors="surrogateescape"), safe="/~", errors="surrogateescape")
    heads = "".join(f"{n}:{' '.join(req.headers.get(n, '').split())}\n" for n in signed.names)
    text = "\n".join((req.method, path, query, heads, ";".join(signed.names), payload))
    return text.encode("utf-8", "surrogateescape")


def _encode(text: str) -> str:
    return quote(text, safe="~", errors="surrogateescape")


# -- version 2
def _two(cloud: Cloud, req: Request, said: str) -> None:
    access, colon, signature = said.rpartition(":")
    if not colon or not access:
        raise S3Error("InvalidArgument", "AWS authorization header is invalid. Expected AwsAccessKeyId:signature")
    when = req.headers.get("x-amz-date") or req.headers.get("date", "")
    moment = http_seconds(when)
    if moment is None:
        raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    now = cloud.clock.real()
    if abs(now - moment) > SKEW_S:
        raise _skewed(when, now)
    date = "" if "x-amz-date" in req.headers else req.headers.get("date", "")
    _check_two(cloud, req, access, signature, date)


def _two_presigned(cloud: Cloud, req: Request) -> None:
    query = req.query
    if any(not query.get(n) for n in ("AWSAccessKeyId", "Signature", "Expires")):
        raise S3Error("AccessDenied", "Query-string authentication requires the Signature, Expires and AWSAccessKeyId"
                                      " parameters")  # fmt: skip
    if not query["Expires"].isdecimal() or len(query["Expires"]) > 15 or int(query["Expires"]) >= 1 << 32:
        raise S3Error("AccessDenied", "Invalid date (should be seconds since epoch): " + query["Expires"])
    if int(query["Expires"]) < cloud.clock.real():
        raise S3Error("AccessDenied", "Request has expired", Expires=_iso(int(query["Expires"])),
                      ServerTime=_iso(cloud.clock.real()))  # fmt: skip
    _check_two(cloud, req, query["AWSAccessKeyId"], query["Signature"], query["Expires"])


def _check_two(cloud: Cloud, req: Request, access: str, signature: str, date: str) -> None:
    found = credential(cloud, access)
    heads = sorted((n, v) for n, v in req.headers.items() if n.startswith("x-amz-"))
    lines = [req.method, req.headers.get("content-md5", ""), req.headers.get("content-type", ""), date]
    lines += [f"{n}:{v.strip()}" for n, v in heads]
    pairs = [p.partition("=") for p in req.raw_query.split("&") if p]
    kept = sorted((k, eq, unquote(v.replace("+", " "))) for k, eq, v in pairs if k in SUBRESOURCES)
    asked = "&".join(f"{k}{eq}{v}" for k, eq, v in kept)
    for path in dict.fromkeys((req.raw_path, req.bare_path)):
        text = "\n".join([*lines, path + (f"?{asked}" if asked else "")])
        digest = hmac.new(found.secret.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()
        if hmac.compare_digest(base64.b64encode(digest).decode(), signature):
            _known(req, found)
            chunked.unwrap(req, None)
            return
    raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=access, StringToSign=text, SignatureProvided=signature)


def _known(req: Request, found: Ec2Credential) -> None:
    req.who, req.access = found.who, found.access


# -- times
def stamp_seconds(text: str) -> float | None:
    """ "20261122T101112Z" """
    try:
        return calendar.timegm(time.strptime(text, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


def http_seconds(text: str) -> float | None:
    found = stamp_seconds(text)
    if found is not None or not text:
        return found
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _skewed(said: str, now: float) -> S3Error:
    return S3Error("RequestTimeTooSkewed", RequestTime=said, ServerTime=_iso(now),
                   MaxAllowedSkewMilliseconds=str(SKEW_S * 1000))  # fmt: skip
