"""A seller's key, and licences signed with it."""

from datetime import UTC, datetime, timedelta
from functools import cache

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@cache
def seller_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(key=None):
    return (
        (key or seller_key())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def licence(key=None, *, days=365, algorithm="RS256", limits=None, trial=None, **features):
    now = datetime.now(UTC)
    given = {
        "customerId": "cust_1",
        "customerName": "Mill",
        "plan": "professional",
        "features": {"maxDevices": 50, **features},
        "limits": {"maxJobTemplates": 100, "maxAlertRules": 100, "maxUsers": 10} | (limits or {}),
        "trial": trial or {"isTrialMode": False, "expiresAt": None},
        "subscription": {"status": "active", "currentPeriodEndsAt": (now + timedelta(days=20)).isoformat()},
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(days=days)).timestamp()),
    }
    return jwt.encode(given, key or seller_key(), algorithm=algorithm)
