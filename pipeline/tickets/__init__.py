"""Where tickets come from, and where snapshots go back to: one ticket system a file, each of the shape in `system.py`.

    file         `ticket.json`, in a bundle, at a path or from standard input
    freshdesk    Freshdesk
    jira         Jira Cloud, with Jira Service Management
    jira_dc      Jira Data Center
    servicenow   ServiceNow
    zendesk      Zendesk Support

A new system needs a file with its `Options` (tagged by `kind`) and its class, a name in `TicketOptions` and a case in
`open_system`. Clients of outside systems are imported by the methods that use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from pipeline.tickets.freshdesk import Options as FreshdeskOptions
from pipeline.tickets.jira import Options as JiraOptions
from pipeline.tickets.jira_dc import Options as JiraDataCenterOptions
from pipeline.tickets.servicenow import Options as ServiceNowOptions
from pipeline.tickets.zendesk import Options as ZendeskOptions

if TYPE_CHECKING:
    from pipeline.tickets.system import TicketSystem

# What a `[tickets.NAME]` table of the configuration is; its `kind` tells which.
TicketOptions = FreshdeskOptions | JiraOptions | JiraDataCenterOptions | ServiceNowOptions | ZendeskOptions


def open_system(name: str, options: TicketOptions) -> TicketSystem:
    """The ticket system that `options` describe, under the name it has in the configuration. Connects to nothing yet."""
    match options:
        case FreshdeskOptions():
            from pipeline.tickets.freshdesk import FreshdeskSystem

            return FreshdeskSystem(name, options)
        case JiraOptions():
            from pipeline.tickets.jira import JiraCloudSystem

            return JiraCloudSystem(name, options)
        case JiraDataCenterOptions():
            from pipeline.tickets.jira_dc import JiraDataCenterSystem

            return JiraDataCenterSystem(name, options)
        case ServiceNowOptions():
            from pipeline.tickets.servicenow import ServiceNowSystem

            return ServiceNowSystem(name, options)
        case ZendeskOptions():
            from pipeline.tickets.zendesk import ZendeskSystem

            return ZendeskSystem(name, options)
        case _:
            assert_never(options)
