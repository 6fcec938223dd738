"""Does with a database what Django does: reads commands as lines of JSON, and answers each by one."""

import json
import pickle
import secrets
import sys
import time
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from unittest import mock
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

url = urlsplit(sys.argv[1])
has_rest_framework = find_spec("rest_framework") is not None
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": unquote(url.username or ""),
            "PASSWORD": unquote(url.password or ""),
            "HOST": url.hostname,
            "PORT": url.port,
        }
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        *(["rest_framework.authtoken"] if has_rest_framework else []),
    ],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
    SECRET_KEY="of a test",
    PASSWORD_HASHERS=[
        "django.contrib.auth.hashers." + name
        for name in (
            "PBKDF2PasswordHasher",
            "PBKDF2SHA1PasswordHasher",
            "Argon2PasswordHasher",
            "BCryptSHA256PasswordHasher",
            "BCryptPasswordHasher",
            "ScryptPasswordHasher",
        )
    ],
)
django.setup()

from django.contrib.auth import authenticate, hashers, login  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest  # noqa: E402
from django.utils import timezone  # noqa: E402

# Cheap, as there are many.
hashers.PBKDF2PasswordHasher.iterations = 1000
hashers.PBKDF2SHA1PasswordHasher.iterations = 1000
hashers.Argon2PasswordHasher.memory_cost = 64
hashers.BCryptSHA256PasswordHasher.rounds = 4
hashers.BCryptPasswordHasher.rounds = 4
hashers.ScryptPasswordHasher.work_factor = 1024


class Pickled:
    """As Django's PickleSerializer was, until version 5."""

    def dumps(self, value):
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data):
        return pickle.loads(data)


def cookie(user, engine, key=None, age=0, serializer=None, basket=0, expiry=None, until=None, pk=None):
    """What the cookie `sessionid` is in a browser whose user has logged in."""
    store = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore
    own = settings.SECRET_KEY
    settings.SECRET_KEY = key or own
    try:
        with mock.patch("time.time", return_value=time.time() - age):
            request = HttpRequest()
            request.session = store()
            if serializer == "pickle":
                request.session.serializer = Pickled
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            if pk is not None:
                request.session["_auth_user_id"] = pk
            if expiry is not None:
                request.session.set_expiry(expiry)
            if until is not None:
                request.session.set_expiry(timezone.now() + timedelta(seconds=until))
            # As much as hexadecimal digits of chance take.
            request.session["basket"] = secrets.token_hex(basket)
            request.session.save()
            return request.session.session_key
    finally:
        settings.SECRET_KEY = own


def do(what, name=None, password=None, hasher="default", **fields):
    if what == "migrate":
        return call_command("migrate", verbosity=0)
    if what == "create":
        user = User(username=name, email=f"{name}@example.com", **fields)
        user.password = hashers.make_password(password, hasher=hasher)
        user.save()
        return user.pk
    user = User.objects.get(username=name)
    if what == "check":
        # Without hashing anew.
        return hashers.check_password(password, user.password)
    if what == "authenticate":
        # With it, as at a login.
        return authenticate(username=name, password=password) is not None
    if what == "set":
        for field, value in fields.items():
            setattr(user, field, value)
        if password is not None:
            user.set_password(password)
        return user.save()
    if what == "delete":
        return user.delete()[0]
    if what == "token":
        from rest_framework.authtoken.models import Token

        return Token.objects.create(user=user).key
    if what == "cookie":
        return cookie(user, **fields)
    raise ValueError(what)


for line in sys.stdin:
    print(json.dumps(do(**json.loads(line))), flush=True)
