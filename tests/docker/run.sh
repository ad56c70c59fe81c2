#!/usr/bin/env bash
# The image for real: built from the Dockerfile, looked at, run as its own user, and used for one
# action. Without a container engine: buildah in a chroot, over a base that debootstrap makes once
# and that is kept in build/docker. Root; the mirror is the one apt uses on this machine.
#   tests/docker/run.sh BUILD
# BUILD holds tollgate and tollgate-sim of this machine, for the keys and the upstream.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

build=$1
work=$build/docker
state=$work/state
suite=bookworm
sim_pid='' gateway_pid=''
container=''

store=(--root "$work/storage" --runroot "$work/runroot" --storage-driver vfs)
image=localhost/tollgate-test
base=localhost/tollgate-base

buildah() {
    command buildah "${store[@]}" "$@"
}

ok() {
    printf 'ok: %s\n' "$*"
}

die() {
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

# The last descendant of a process: buildah runs what it runs through processes of its own, and
# passes no signals on.
innermost() {
    local pid=$1 child
    while child=$(cat "/proc/$pid/task/"*/children 2>/dev/null) && [ -n "$child" ]; do
        pid=${child%% *}
    done
    printf '%s' "$pid"
}

finish() {
    trap - EXIT
    if [ -n "$gateway_pid" ]; then
        kill -TERM "$(innermost "$gateway_pid")" 2>/dev/null || true
    fi
    if [ -n "$sim_pid" ]; then
        kill -TERM "$sim_pid" 2>/dev/null || true
    fi
    wait
    if [ -n "$container" ]; then
        buildah rm "$container" >/dev/null || true
    fi
    buildah rmi --prune >/dev/null || true # what earlier builds left
}
trap finish EXIT
trap 'exit 143' INT TERM

# ---- The base, in place of the public one ----

# Debian's archives as this machine's apt knows them: "URI SUITE" a line.
archives() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)' \
        'Created-By: Packages' | awk '$1 == "Debian" && $4 == "main" {print $2, $3}' | sort -u
}

make_base() {
    local mirror folder=$work/base
    if buildah images --quiet "$base" >/dev/null 2>&1; then
        return
    fi
    apt-get -q update
    mirror=$(archives | awk '$2 !~ /-/ {print $1; exit}')
    [ -n "$mirror" ] || die "apt knows no Debian archive"
    rm -rf "$folder"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$folder" "$mirror"
    archives | awk -v suite="$suite" '{sub(/^[a-z]+/, suite, $2); print "deb", $1, $2, "main"}' \
        >"$folder/etc/apt/sources.list"
    # This machine's own way to the archives: its proxy and its certificates, if it has any.
    apt-config dump | grep -iE '^Acquire::https?::' >"$folder/etc/apt/apt.conf.d/80machine" || true
    cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/" 2>/dev/null || true
    container=$(buildah from scratch)
    tar -C "$folder" --exclude ./var/cache/apt/archives --exclude ./dev -cf "$work/base.tar" .
    buildah add "$container" "$work/base.tar" /
    buildah commit "$container" "$base"
    buildah rm "$container"
    container=''
    rm -rf "$folder" "$work/base.tar"
}

# ---- Looking at the image ----

inside() {
    buildah run --isolation chroot "$container" -- "$@"
}

check_image() {
    local config
    config=$(buildah inspect --type image "$image" | jq .Docker.config)
    jq -e '.User == "10001:10001" and .WorkingDir == "/var/lib/tollgate" and
        .Entrypoint == ["tollgate"] and .Cmd[0] == "serve" and .StopSignal == "SIGTERM" and
        (.ExposedPorts | has("8080/tcp") and has("8081/tcp")) and
        (.Volumes | has("/var/lib/tollgate"))' <<<"$config" >/dev/null ||
        die "the image's configuration is not as it should be: $config"
    # As a Dockerfile's HEALTHCHECK CMD [...] is kept: ["CMD", program, argument, ...].
    mapfile -d '' -t health < <(jq -j '.Healthcheck.Test[1:][] | . + "\u0000"' <<<"$config")
    [ ${#health[@]} -gt 0 ] || die "the image has no health check"
    [ "$(inside id -u)" = 10001 ] || die "the image runs as user $(inside id -u)"
    # shellcheck disable=SC2016 # for the shell in there
    inside bash -c 'for program in gcc cc g++ clang ld as cmake make; do
        if command -v $program; then exit 1; fi; done' || die "the image has a compiler"
    inside tollgate --version
    if inside bash -c 'ldd /usr/local/bin/tollgate | grep "not found"'; then
        die "the image lacks libraries"
    fi
    ok "not root, no compiler, all libraries there"
}

# ---- Running it ----

# listening LOG: waits until a program says where it listens, and prints that line.
listening() {
    for _ in {1..200}; do
        grep -m 1 '"msg":"listening"' "$1" && return
        sleep 0.1
    done
    cat "$1" >&2
    die "nothing listens"
}

start_upstream() {
    "$build/tollgate-sim" --listen 127.0.0.1:0 --client-id image --client-secret image-secret \
        2>"$state/simulator.log" &
    sim_pid=$!
    sim=$(listening "$state/simulator.log" | jq -r '.addresses[0]')
}

configure() {
    local key
    key=$("$build/tollgate" key new --json)
    jq -r .key <<<"$key" >"$state/key"
    mkdir "$state/conf"
    printf 'image-secret\n' >"$state/conf/client_secret"
    jq -n --arg upstream "http://$sim" --argjson key "$key" '{
        node: "image", listen: [{address: "127.0.0.1:0"}], admin: {address: "127.0.0.1:0"},
        store: "sqlite:/var/lib/tollgate/tollgate.db",
        accounts: {main: {base_url: $upstream,
            credentials: {client_id: "image", client_secret_file: "client_secret"}}},
        teams: {helpdesk: {account: "main", rules: [{actions: ["exempt"]}]}},
        clients: {script: {team: "helpdesk", keys: [$key | {id, hash}]}}
    }' >"$state/conf/tollgate.json"
    chown -R 10001:10001 "$state/conf"
    chmod 600 "$state/conf/client_secret"
}

# The image's own entry point and command, as its own user, with this machine's loopback.
start_image() {
    buildah run --isolation chroot -v "$state/conf:/etc/tollgate:ro" "$container" -- \
        tollgate serve -c /etc/tollgate/tollgate.json 2>"$state/gateway.log" &
    gateway_pid=$!
    line=$(listening "$state/gateway.log")
    front=$(jq -r '.addresses[0]' <<<"$line")
    admin=$(jq -r .admin <<<"$line")
    curl -fs -o "$state/ready.json" --retry 50 --retry-delay 1 --retry-all-errors --max-time 60 \
        "http://$admin/readyz"
    ok "it runs, as its own user"
}

send_action() {
    curl -fs "http://$front/o/api/v3.1/devices/action" \
        -H "Authorization: Bearer $(cat "$state/key")" -H 'Content-Type: application/json' \
        -d '{"types":"exempt","ids":["normal-001"],"params":{"exempt_time":24}}' >"$state/answer.json"
    jq -e '. == [{id: "normal-001", status: 1, command_id: ""}]' "$state/answer.json" >/dev/null ||
        die "the answer is $(cat "$state/answer.json")"
    ok "an action went through it"
}

check_health() {
    inside env "TOLLGATE_ADMIN_PORT=${admin##*:}" "${health[@]}" || die "the health check fails"
    if inside env TOLLGATE_ADMIN_PORT=9 "${health[@]}" >/dev/null 2>&1; then
        die "the health check cannot fail"
    fi
    ok "its health check works"
}

stop_image() {
    local status=0
    kill -TERM "$(innermost "$gateway_pid")"
    wait "$gateway_pid" || status=$?
    gateway_pid=''
    tail -n 2 "$state/gateway.log"
    if [ "$status" -ne 0 ] || ! grep -q '"msg":"stopped"' "$state/gateway.log"; then
        die "it did not stop as it should (exit $status)"
    fi
    ok "it stops on SIGTERM"
}

mkdir -p "$work"
rm -rf "$state"
mkdir -m 755 "$state"
make_base
ok "the base image is there"
buildah build --isolation chroot --format docker --build-arg "BASE=$base" --tag "$image" .
ok "the image is built"
container=$(buildah from --pull-never "$image")
check_image
start_upstream
configure
start_image
send_action
check_health
stop_image
