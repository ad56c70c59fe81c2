/*
 * Writes the help: the text around the options is here, the options come from their table.
 */
#include "help.h"

#include <stdio.h>
#include <string.h>

#define OPTION_COLUMN 27

static const char help_start[] =
    "Usage: tollgate-sim [OPTION]...\n"
    "\n"
    "Simulates the upstream of tollgate: an OAuth token endpoint, the device action call\n"
    "with its rate limit, a table of devices, and faults to order. Everything is kept in\n"
    "memory. It ends on SIGTERM or SIGINT.\n"
    "\n"
    "Options (default in parentheses):\n";

static const char help_end[] =
    "\n"
    "Upstream calls:\n"
    "  POST /o/oauth/token                    client_credentials grant\n"
    "  POST /o/api/v3.1/devices/action        ?access_token=TOKEN\n"
    "\n"
    "Calls for tests (no token needed, never limited):\n"
    "  GET    /_sim/calls     the action calls executed, in order of arrival\n"
    "  DELETE /_sim/calls     forget them and the statistics, but not the rate limit\n"
    "  GET    /_sim/stats     counters, and the most calls counted in any window\n"
    "  GET    /_sim/devices   the devices with their present state\n"
    "  POST   /_sim/faults    add orders, a JSON array such as\n"
    "                         "
    "[{\"do\":\"close-after\"},{\"on\":\"token\",\"do\":\"status\",\"status\":500}]\n"
    "  GET    /_sim/faults    the orders not used yet; DELETE forgets them\n"
    "  POST   /_sim/revoke    makes all issued tokens invalid\n"
    "\n"
    "Orders, each used once by the first call it fits (\"on\": \"action\", the default, or\n"
    "\"token\"; those marked * are for actions only):\n"
    "  not executed:  status (status, [body], [headers])  close-before  redirect (location)\n"
    "                 echo-token  reject-device* (id; waits for a call with that device)\n"
    "  executed:      close-after  hang  delay (ms)  garbage  truncate  truncate-json\n"
    "                 wrong-shape  endless  bomb  drop-device*  foreign-device*  wrap*\n"
    "\n"
    "Built-in devices, by id and MAC:\n"
    "  normal-001 to -100     00:0c:29:01:00:01 to 00:0c:29:01:01:00 (decimal digits)\n"
    "  unknown-001 to -025    00:0c:29:02:00:01 to 00:0c:29:02:00:25, and so on:\n"
    "  ignored-  03, exempt-  04, noagent-  05, oldagent-  06, dc-  07 (domain controller),\n"
    "  unlicensed-  08, failing-  09 (every action fails). Ids any-* and MACs\n"
    "  00:0c:29:ff:* are always normal devices; any other device fails.\n"
    "  In a file, state is normal, unknown, ignored, exempt, unlicensed or failing, and\n"
    "  agent is persistent, none, old or domain-controller.\n";

void help_write_start(void)
{
    fputs(help_start, stdout);
}

void help_write_row(const struct help_row *row)
{
    char head[64];
    const char *line = row->text;

    snprintf(head, sizeof(head), "  --%s %s", row->name, row->value);
    while (line) {
        const char *end = strchr(line, '\n');

        printf("%-*s %.*s\n", OPTION_COLUMN, head, end ? (int)(end - line) : (int)strlen(line),
               line);
        line = end ? end + 1 : NULL;
        head[0] = '\0';
    }
}

void help_write_end(void)
{
    printf("%-*s %s\n", OPTION_COLUMN, "  -h, --help", "show this help");
    fputs(help_end, stdout);
}
