#!/usr/bin/env bash
# The demonstration behind './dev demo': a simulator of the upstream and a gateway on free ports,
# two teams with keys of their own, and real requests through the front door.
#   tests/demo/run.sh BUILD STATE
# BUILD holds the programs; STATE is emptied and holds configuration, keys, database and logs.
set -euo pipefail

build=$1
state=$2
shown=${state#"$PWD/"} # as people see it
sim_pid='' gateway_pid=''

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

finish() {
    trap - EXIT INT TERM
    for pid in $gateway_pid $sim_pid; do
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# listening PID LOG NAME: waits until a program says where it listens, and prints that line.
listening() {
    local line
    for _ in {1..100}; do
        if line=$(grep -m 1 '"msg":"listening"' "$2"); then
            printf '%s' "$line"
            return
        fi
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 5 "$2" >&2
    die "$3 did not start: the lines above are the end of $2."
}

write_configuration() {
    local helpdesk network
    helpdesk=$("$build/tollgate" key new --json)
    network=$("$build/tollgate" key new --json)
    jq -r .key <<<"$helpdesk" >"$state/helpdesk.key"
    jq -r .key <<<"$network" >"$state/network.key"
    "$build/tollgate" audit key new --node demo "$state/audit.key" >"$state/audit.pub" 2>/dev/null
    jq -n --arg upstream "http://$sim" --argjson helpdesk "$helpdesk" --argjson network "$network" '{
        node: "demo",
        listen: [{address: "127.0.0.1:0"}],
        admin: {address: "127.0.0.1:0"},
        store: "sqlite:tollgate.db",
        audit: {signing_key_file: "audit.key", checkpoint_file: "checkpoints.txt", checkpoint_interval_s: 1},
        accounts: {main: {
            base_url: $upstream,
            credentials: {client_id: "demo", client_secret_file: "client_secret"}}},
        teams: {
            helpdesk: {account: "main", rules: [
                {actions: ["exempt"], max_exempt_hours: 24, max_devices: 50},
                {actions: ["unexempt", "re-identify"]}]},
            network: {account: "main", rules: [
                {actions: ["dhcprenew", "re-identify"]},
                {actions: ["assign_to_group"], groups: ["quarantine", "default"]},
                {actions: ["delete"], max_devices: 5, require_reason: true}]}},
        clients: {
            "nightly-exempt": {team: "helpdesk", keys: [$helpdesk | {id, hash}]},
            "port-watch": {team: "network", keys: [$network | {id, hash}]}}
    }' >"$state/tollgate.json"
}

start_simulator() {
    "$build/tollgate-sim" --listen 127.0.0.1:0 --client-id demo \
        --client-secret "$(cat "$state/client_secret")" --latency-ms 50-200 \
        2>"$state/simulator.log" &
    sim_pid=$!
}

start_gateway() {
    "$build/tollgate" serve -c "$state/tollgate.json" 2>"$state/gateway.log" &
    gateway_pid=$!
}

wait_until_ready() {
    for _ in {1..100}; do
        if curl -fs -o "$state/ready.json" "http://$admin/readyz"; then
            return
        fi
        sleep 0.1
    done
    tail -n 5 "$state/gateway.log" >&2
    die "The gateway is not ready after 10 s: the lines above are the end of $shown/gateway.log."
}

# request STATUS TITLE KEY BODY: shows the command, runs it, shows the answer, which must have
# that status.
request() {
    local wanted=$1 path=/o/api/v3.1/devices/action status
    shift
    say
    say "# $1"
    say "curl -s http://$front$path \\"
    say "  -H \"Authorization: Bearer \$(cat $shown/$2.key)\" -H 'Content-Type: application/json' \\"
    say "  -d '$3'"
    status=$(curl -s -w '%{http_code}' "http://$front$path" \
        -H "Authorization: Bearer $(cat "$state/$2.key")" -H 'Content-Type: application/json' \
        -d "$3" -o "$state/answer.json") || die "The gateway did not answer: see $shown/gateway.log."
    say "HTTP $status"
    jq -r 'if type == "array" then .[] | tojson else . end' "$state/answer.json"
    [ "$status" = "$wanted" ] || die "That should have been $wanted: see $shown/gateway.log."
}

show_budget() {
    say
    say "# What is left of the ten calls a minute: three were sent, the refused one cost nothing."
    say "curl -s http://$admin/metrics | grep ^tollgate_budget_slots"
    for _ in {1..30}; do # the gauges follow once a second
        curl -s "http://$admin/metrics" >"$state/metrics.txt"
        if grep -q '^tollgate_budget_slots{.*state="used"} 3' "$state/metrics.txt"; then
            break
        fi
        sleep 0.1
    done
    grep '^tollgate_budget_slots' "$state/metrics.txt"
}

show_audit() {
    say
    say "# The audit trail: who did what, by which rule, and what became of it (shortened)."
    say "$program audit export -c $shown/tollgate.json"
    "$build/tollgate" audit export -c "$state/tollgate.json" |
        jq -r '[(.seq | tostring), .time[11:19], .event, .client // "-",
                .action // "-", .rule // .outcome // .problem // .detail.state? // "-"] | @tsv' |
        while IFS=$'\t' read -r seq time event client action why; do
            printf '%4s  %s  %-16s %-15s %-16s %s\n' "$seq" "$time" "$event" "$client" "$action" "$why"
        done
}

show_evidence() {
    local copy=$state/forged.db forge
    sleep 1.5 # here a checkpoint is signed each second when there is news
    say
    say "# The log proves itself: it is a Merkle tree over all records, of which checkpoints are signed."
    say "$program audit verify -c $shown/tollgate.json"
    "$build/tollgate" audit verify -c "$state/tollgate.json" || die "That should have held."
    forge="UPDATE audit SET record = CAST(replace(CAST(record AS TEXT), 'nightly-exempt', 'nightly-except') AS BLOB) WHERE seq = 3"
    say
    say "# Somebody changes who asked for the first exemption, in a copy of the database. It is found."
    say "sqlite3 $shown/tollgate.db \".backup $shown/forged.db\""
    sqlite3 "$state/tollgate.db" ".backup $copy"
    say "sqlite3 $shown/forged.db \"$forge\""
    sqlite3 "$copy" "$forge"
    say "$program audit verify --store sqlite:$shown/forged.db --public-key $shown/audit.pub"
    if "$build/tollgate" audit verify --store "sqlite:$copy" --public-key "$state/audit.pub"; then
        die "That should have been found."
    fi
}

budget() {
    curl -fs "http://$front/v1/budget" -H "Authorization: Bearer $(cat "$state/helpdesk.key")" ||
        die "The gateway did not say how its budget stands: see $shown/gateway.log."
}

# re_identify KEY DEVICE: one request that waits for its result; prints the status of the answer.
re_identify() {
    curl -s -o /dev/null -w '%{http_code}\n' "http://$front/o/api/v3.1/devices/action" \
        -H "Authorization: Bearer $(cat "$state/$1.key")" -H 'Content-Type: application/json' \
        -d "{\"types\":\"re-identify\",\"ids\":[\"$2\"]}"
}

# Thirty requests at once, and the calls that they took.
show_sharing() {
    local before after answered i teams=(helpdesk network) pids=()
    say
    say "# Thirty scripts at once, half of them of each team, ask for the same action, each for a device of its own:"
    say "# re-identify normal-011, normal-012, ... normal-040. All wait for their results."
    before=$(budget)
    : >"$state/statuses.txt"
    for i in {11..40}; do
        re_identify "${teams[i % 2]}" "normal-0$i" >>"$state/statuses.txt" &
        pids+=($!)
    done
    wait "${pids[@]}" || die "The gateway did not answer: see $shown/gateway.log."
    after=$(budget)
    answered=$(grep -c '^200$' "$state/statuses.txt" || true)
    say "$answered answers with 200, for $(($(jq .used <<<"$after") - $(jq .used <<<"$before"))) of the ten calls."
    [ "$answered" = 30 ] || die "That should have been 30: see $shown/gateway.log."
    say
    say "# How the window stands now (shortened). Each team pays for its share of the devices in a call."
    say "curl -s http://$front/v1/budget -H \"Authorization: Bearer \$(cat $shown/helpdesk.key)\""
    jq -r '"\(.used) of \(.requests) calls used, \(.free) free, \(.queued) requests wait, \(.calls_saved) calls saved by sharing",
           (.teams[] | "  \(.team): \(.used) used, weight \(.weight), a new request would take \(.eta_s) s")' \
        <<<"$after"
}

show_next() {
    say
    say "# Now you. The gateway is http://$front, its state is in $shown/."
    say "key=\$(cat $shown/network.key)"
    say "# a MAC instead of ids; a device without agent answers -1"
    say "curl -s http://$front/o/api/v3.1/devices/action -H \"Authorization: Bearer \$key\" -H 'Content-Type: application/json' -d '{\"types\":\"dhcprenew\",\"macs\":[\"00-0C-29-01-00-09\",\"00:0c:29:05:00:01\"]}'"
    say "# do not wait: 202 at once, then ask at the Location"
    say "curl -si http://$front/v1/actions -H \"Authorization: Bearer \$key\" -H 'Content-Type: application/json' -d '{\"types\":\"re-identify\",\"ids\":[\"normal-007\"]}'"
    say "# a rule that wants a reason: leave the header out and see"
    say "curl -s http://$front/o/api/v3.1/devices/action -H \"Authorization: Bearer \$key\" -H 'Content-Type: application/json' -H 'Action-Reason: lost laptop' -d '{\"types\":\"delete\",\"ids\":[\"normal-008\"]}'"
    say "# what policy would say, without sending anything"
    say "$program explain -c $shown/tollgate.json --team helpdesk '{\"types\":\"delete\",\"ids\":[\"normal-008\"]}'"
    say "# what the upstream really got"
    say "curl -s http://$sim/_sim/calls | jq ."
}

if [ ! -x "$build/tollgate" ] || [ ! -x "$build/tollgate-sim" ]; then
    die "There are no programs in $build: './dev build' makes them."
fi
rm -rf "$state"
mkdir -p "$state"
chmod 700 "$state"
program=${build#"$PWD/"}/tollgate

umask 077
printf 'demo-%s\n' "$(od -An -N12 -tx1 /dev/urandom | tr -d ' ')" >"$state/client_secret"
start_simulator
sim=$(listening "$sim_pid" "$state/simulator.log" "The simulator" | jq -r '.addresses[0]')
write_configuration
start_gateway
line=$(listening "$gateway_pid" "$state/gateway.log" "The gateway")
front=$(jq -r '.addresses[0]' <<<"$line")
admin=$(jq -r '.admin' <<<"$line")
wait_until_ready

request 200 "The helpdesk team exempts three devices for a day. The answer is the upstream's own: 1 applied, 0 failed, -1 not supported." \
    helpdesk '{"types":"exempt","ids":["normal-001","normal-002","unknown-001"],"params":{"exempt_time":24}}'
request 200 "The network team, with another key, moves two devices to a group." \
    network '{"types":"assign_to_group","ids":["normal-003","dc-001"],"params":{"group_id":"quarantine"}}'
request 403 "Helpdesk again: for ever (0) is longer than its rule allows. Nothing is sent." \
    helpdesk '{"types":"exempt","ids":["normal-004"],"params":{"exempt_time":0}}'
request 200 "One more of helpdesk." \
    helpdesk '{"types":"unexempt","ids":["normal-001"]}'
show_budget
show_audit
show_sharing
show_evidence
show_next

say
if [ -t 0 ]; then
    read -r -p "The gateway runs until you press Enter. " || true
fi
say "Stopping the gateway and the simulator."
