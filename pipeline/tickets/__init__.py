"""Where tickets come from, and where snapshots go back to: one ticket system a file, each of the shape in `system.py`.

    cloudevents         any system that sends CloudEvents
    forgejo             issues of Forgejo or Gitea
    freshdesk           Freshdesk
    generic             any system that sends JSON, as configured
    github              issues of GitHub
    gitlab              issues of GitLab
    jira                Jira Cloud, with Jira Service Management
    jira_dc             Jira Data Center
    servicenow          ServiceNow
    standard_webhooks   any system that sends Standard Webhooks
    zammad              tickets of Zammad
    zendesk             Zendesk Support

`file.py` reads `ticket.json`, from a bundle, a path or standard input. A new system needs a file with its `Options`
(tagged by `kind`) and its class, a name in `TicketOptions` and a case in `open_system`. Clients of outside systems are
imported by the methods that use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from pipeline.tickets.cloudevents import Options as CloudEventsOptions
from pipeline.tickets.forgejo import Options as ForgejoOptions
from pipeline.tickets.freshdesk import Options as FreshdeskOptions
from pipeline.tickets.generic import Options as GenericOptions
from pipeline.tickets.github import Options as GitHubOptions
from pipeline.tickets.gitlab import Options as GitLabOptions
from pipeline.tickets.jira import Options as JiraOptions
from pipeline.tickets.jira_dc import Options as JiraDataCenterOptions
from pipeline.tickets.servicenow import Options as ServiceNowOptions
from pipeline.tickets.standard_webhooks import Options as StandardWebhooksOptions
from pipeline.tickets.zammad import Options as ZammadOptions
from pipeline.tickets.zendesk import Options as ZendeskOptions

if TYPE_CHECKING:
    from pipeline.tickets.system import TicketSystem

# What a `[tickets.NAME]` table of the configuration is; its `kind` tells which.
TicketOptions = (
    CloudEventsOptions
    | ForgejoOptions
    | FreshdeskOptions
    | GenericOptions
    | GitHubOptions
    | GitLabOptions
    | JiraOptions
    | JiraDataCenterOptions
    | ServiceNowOptions
    | StandardWebhooksOptions
    | ZammadOptions
    | ZendeskOptions
)


def open_system(name: str, options: TicketOptions) -> TicketSystem:
    """The ticket system that `options` describe, under the name it has in the configuration. Connects to nothing yet."""
    match options:
        case CloudEventsOptions():
            from pipeline.tickets.cloudevents import CloudEventsSystem

            return CloudEventsSystem(name, options)
        case ForgejoOptions():
            from pipeline.tickets.forgejo import ForgejoSystem

            return ForgejoSystem(name, options)
        case FreshdeskOptions():
            from pipeline.tickets.freshdesk import FreshdeskSystem

            return FreshdeskSystem(name, options)
        case GenericOptions():
            from pipeline.tickets.generic import GenericSystem

            return GenericSystem(name, options)
        case GitHubOptions():
            from pipeline.tickets.github import GitHubSystem

            return GitHubSystem(name, options)
        case GitLabOptions():
            from pipeline.tickets.gitlab import GitLabSystem

            return GitLabSystem(name, options)
        case JiraOptions():
            from pipeline.tickets.jira import JiraCloudSystem

            return JiraCloudSystem(name, options)
        case JiraDataCenterOptions():
            from pipeline.tickets.jira_dc import JiraDataCenterSystem

            return JiraDataCenterSystem(name, options)
        case ServiceNowOptions():
            from pipeline.tickets.servicenow import ServiceNowSystem

            return ServiceNowSystem(name, options)
        case StandardWebhooksOptions():
            from pipeline.tickets.standard_webhooks import StandardWebhooksSystem

            return StandardWebhooksSystem(name, options)
        case ZammadOptions():
            from pipeline.tickets.zammad import ZammadSystem

            return ZammadSystem(name, options)
        case ZendeskOptions():
            from pipeline.tickets.zendesk import ZendeskSystem

            return ZendeskSystem(name, options)
        case _:
            assert_never(options)
