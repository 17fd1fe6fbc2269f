"""A Django project around django-helpdesk, run by that project's own Python: `desk.py make FOLDER` and `desk.py serve FOLDER PORT`.

Only the standard library is imported here at first: the tests' Python knows no Django. FOLDER/site.json has the settings that differ.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path


def configure(folder: Path) -> dict[str, str]:
    """Sets Django up, as a project's settings.py does."""
    import django
    from django.conf import settings

    given = json.loads((folder / "site.json").read_text(encoding="utf-8"))
    settings.configure(
        SECRET_KEY=given["key"],
        DEBUG=False,
        ALLOWED_HOSTS=["127.0.0.1"],
        USE_TZ=True,
        TIME_ZONE="Asia/Shanghai",
        SITE_ID=1,
        ROOT_URLCONF="desk_urls",
        STATIC_URL="/static/",
        MEDIA_ROOT=str(folder / "media"),
        MEDIA_URL="/media/",
        LOGIN_URL="/login/",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        EMAIL_BACKEND="django.core.mail.backends.filebased.EmailBackend",
        EMAIL_FILE_PATH=str(folder / "mail"),
        DEFAULT_FROM_EMAIL="support@test.example",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "desk.sqlite"),
                "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"},
            }
        },
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "django.contrib.sites",
            "django.contrib.humanize",
            "django.contrib.staticfiles",
            "rest_framework",
            "rest_framework.authtoken",
            "helpdesk",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [
                "rest_framework.authentication.BasicAuthentication",
                "rest_framework.authentication.TokenAuthentication",
            ]
        },
        HELPDESK_TEAMS_MODE_ENABLED=False,
        HELPDESK_GET_NEW_TICKET_WEBHOOK_URLS=lambda: [given["hook"]],
        HELPDESK_GET_FOLLOWUP_WEBHOOK_URLS=lambda: [given["hook"]],
    )
    urls = types.ModuleType("desk_urls")
    urls.urlpatterns = []
    sys.modules["desk_urls"] = urls
    django.setup()
    from django.contrib import admin
    from django.urls import include, path

    urls.urlpatterns += [path("admin/", admin.site.urls), path("", include("helpdesk.urls", namespace="helpdesk"))]
    return given


def make(folder: Path) -> None:
    """The database: one queue that customers may write to, an agent, and our own account with its token."""
    given = configure(folder)
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from helpdesk.models import CustomField, Queue
    from rest_framework.authtoken.models import Token

    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    (folder / "inbox").mkdir()
    Queue.objects.create(
        title="Support",
        slug="support",
        allow_public_submission=True,
        email_address="support@test.example",
        allow_email_submission=True,
        email_box_type="local",
        email_box_local_dir=str(folder / "inbox"),
        email_box_interval=0,
        # Else nobody in Cc is mailed at all.
        enable_notifications_on_email_events=True,
    )
    for name, label in (("fault_class", "Fault class"), ("order_number", "Order number")):
        CustomField.objects.create(
            name=name,
            label=label,
            data_type="varchar",
            max_length=100,
            required=False,
            staff_only=name == "fault_class",
        )
    users.create_user("agent", "agent@example.com", given["password"], is_staff=True)
    ours = users.create_user("problem-snapshot", "snapshots@test.example", None, is_staff=True)
    Token.objects.create(user=ours, key=given["token"])


def fetch(folder: Path) -> None:
    """Takes the mail in that lies in the inbox, as the desk's cron job does."""
    configure(folder)
    from django.core.management import call_command

    call_command("get_email", quiet=True)


def copy(folder: Path, ticket_id: int, address: str) -> None:
    """Puts somebody into a ticket's Cc."""
    configure(folder)
    from helpdesk.models import TicketCC

    TicketCC.objects.create(ticket_id=ticket_id, email=address, can_view=True)


def serve(folder: Path, port: int) -> None:
    """Answers until it is stopped."""
    configure(folder)
    from django.core.management import call_command

    call_command("runserver", f"127.0.0.1:{port}", use_reloader=False, skip_checks=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case ["fetch", folder]:
            fetch(Path(folder))
        case ["copy", folder, ticket, address]:
            copy(Path(folder), int(ticket), address)
        case ["serve", folder, port]:
            serve(Path(folder), int(port))
