"""Signatures of Amazon's protocols, against the published examples."""

import base64
import hashlib

from nutshell.identity.signatures import ec2_right, s3_right, signing_key

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def test_the_signing_key_is_that_of_the_documentation() -> None:
    """AWS General Reference, "Examples of how to derive a signing key for Signature Version 4"."""
    found = signing_key(SECRET, "20120215", "us-east-1", "iam").hex()
    assert found == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"


def test_version_4_of_the_documentations_request() -> None:
    """AWS General Reference, "Create a signed AWS API request" (iam, ListUsers)."""
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, Signature=x"
    )
    request = {
        "verb": "GET",
        "host": "iam.amazonaws.com",
        "path": "/",
        "params": {"Action": "ListUsers", "Version": "2010-05-08"},
        "headers": {
            "Authorization": authorization,
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "X-Amz-Date": "20150830T123600Z",
        },
        "body_hash": hashlib.sha256(b"").hexdigest(),
        "signature": "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    }
    assert ec2_right("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", request)
    assert ec2_right(SECRET, {**request, "host": "iam.amazonaws.com:443"})
    assert not ec2_right(SECRET + "x", request)
    assert not ec2_right(SECRET, {**request, "path": "/other"})
    for gone in ("verb", "path", "headers", "body_hash", "signature", "params"):
        assert not ec2_right(SECRET, {k: v for k, v in request.items() if k != gone})
        assert not ec2_right(SECRET, {**request, gone: 5})


def test_s3s_first_version() -> None:
    """Amazon S3 REST authentication, "Object GET"."""
    text = b"GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/awsexamplebucket1/photos/puppy.jpg"
    token = base64.urlsafe_b64encode(text).decode()
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert s3_right(secret, token, "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=")
    assert not s3_right(secret, token, "qgk2+6Sv9/oM7G3qLEjTH1a1l1h=")
    assert not s3_right(secret, "no base64", "x")
    assert not s3_right(secret, "", "ü")
    odd = base64.urlsafe_b64encode(b"AWS4-HMAC-SHA256\nx\n20260101/r/ec2/aws4_request\nx").decode()
    assert not s3_right(secret, odd, "x")
