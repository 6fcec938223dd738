"""Does with a database what Django does: reads commands as lines of JSON, and answers each by one."""

import json
import sys
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

url = urlsplit(sys.argv[1])
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
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
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

from django.contrib.auth import authenticate, hashers  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

# Cheap, as there are many.
hashers.PBKDF2PasswordHasher.iterations = 1000
hashers.PBKDF2SHA1PasswordHasher.iterations = 1000
hashers.Argon2PasswordHasher.memory_cost = 64
hashers.BCryptSHA256PasswordHasher.rounds = 4
hashers.BCryptPasswordHasher.rounds = 4
hashers.ScryptPasswordHasher.work_factor = 1024


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
    raise ValueError(what)


for line in sys.stdin:
    print(json.dumps(do(**json.loads(line))), flush=True)
