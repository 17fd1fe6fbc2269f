"""Where tickets come from, and where snapshots go back to: one ticket system a file, each of the shape in `system.py`.

    cloudevents         any system that sends CloudEvents
    django_helpdesk     django-helpdesk
    forgejo             issues of Forgejo or Gitea
    freshdesk           Freshdesk
    generic             any system that sends JSON, as configured
    github              issues of GitHub
    gitlab              issues of GitLab
    jira                Jira Cloud, with Jira Service Management
    jira_dc             Jira Data Center
    redmine             issues of Redmine
    rt                  Request Tracker 5, with the scrips of rt_scrips.pl
    servicenow          ServiceNow
    standard_webhooks   any system that sends Standard Webhooks
    zammad              tickets of Zammad
    zendesk             Zendesk Support

`file.py` reads `ticket.json`, from a bundle, a path or standard input. A new system needs a file with its `Options`
(tagged by `kind`) and its class, a name in `TicketOptions` and one in `_CLASSES`. Clients of outside systems are
imported by the methods that use them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pipeline.tickets.cloudevents import Options as CloudEventsOptions
from pipeline.tickets.django_helpdesk import Options as DjangoHelpdeskOptions
from pipeline.tickets.forgejo import Options as ForgejoOptions
from pipeline.tickets.freshdesk import Options as FreshdeskOptions
from pipeline.tickets.generic import Options as GenericOptions
from pipeline.tickets.github import Options as GitHubOptions
from pipeline.tickets.gitlab import Options as GitLabOptions
from pipeline.tickets.jira import Options as JiraOptions
from pipeline.tickets.jira_dc import Options as JiraDataCenterOptions
from pipeline.tickets.redmine import Options as RedmineOptions
from pipeline.tickets.rt import Options as RtOptions
from pipeline.tickets.servicenow import Options as ServiceNowOptions
from pipeline.tickets.standard_webhooks import Options as StandardWebhooksOptions
from pipeline.tickets.zammad import Options as ZammadOptions
from pipeline.tickets.zendesk import Options as ZendeskOptions

if TYPE_CHECKING:
    from pipeline.tickets.system import TicketSystem

# What a `[tickets.NAME]` table of the configuration is; its `kind` tells which.
TicketOptions = (
    CloudEventsOptions
    | DjangoHelpdeskOptions
    | ForgejoOptions
    | FreshdeskOptions
    | GenericOptions
    | GitHubOptions
    | GitLabOptions
    | JiraOptions
    | JiraDataCenterOptions
    | RedmineOptions
    | RtOptions
    | ServiceNowOptions
    | StandardWebhooksOptions
    | ZammadOptions
    | ZendeskOptions
)


# kind -> its class, in the file of that name.
_CLASSES = {
    "cloudevents": "CloudEventsSystem",
    "django_helpdesk": "DjangoHelpdeskSystem",
    "forgejo": "ForgejoSystem",
    "freshdesk": "FreshdeskSystem",
    "generic": "GenericSystem",
    "github": "GitHubSystem",
    "gitlab": "GitLabSystem",
    "jira": "JiraCloudSystem",
    "jira_dc": "JiraDataCenterSystem",
    "redmine": "RedmineSystem",
    "rt": "RtSystem",
    "servicenow": "ServiceNowSystem",
    "standard_webhooks": "StandardWebhooksSystem",
    "zammad": "ZammadSystem",
    "zendesk": "ZendeskSystem",
}


def open_system(name: str, options: TicketOptions) -> TicketSystem:
    """The ticket system that `options` describe, under the name it has in the configuration. Connects to nothing yet."""
    kind = str(options.__struct_config__.tag)
    module = import_module(f"pipeline.tickets.{kind}")
    system: TicketSystem = getattr(module, _CLASSES[kind])(name, options)
    return system
