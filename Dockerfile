# The gateway in a small image: built in one stage, run in another that has no compiler.
#   docker build -t tollgate .
#   docker run -v ./conf:/etc/tollgate:ro -v tollgate:/var/lib/tollgate -p 8080:8080 tollgate
# The configuration is /etc/tollgate/tollgate.json; its secret files must belong to user 10001 and
# be readable by nobody else. Its listen address must be one that is reachable from outside the
# container, such as 0.0.0.0:8080, and its store in the volume: sqlite:/var/lib/tollgate/tollgate.db
# Calls under way end before it does: stop it with --time 40, or more if timeout_s is longer.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
# libevent-dev comes from the security archive, which the base image has: CMake refuses an older one.
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc libc6-dev cmake ninja-build pkgconf libevent-dev libssl-dev libjansson-dev \
        libcurl4-openssl-dev libsqlite3-dev libseccomp-dev
COPY . /source
RUN cmake -G Ninja -S /source -B /build -D BUILD_TESTING=OFF && \
    ninja -C /build && \
    cmake --install /build --prefix /usr/local --strip

FROM ${BASE}
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates libevent-2.1-7 libevent-openssl-2.1-7 libevent-pthreads-2.1-7 libssl3 \
        libjansson4 libcurl4 libsqlite3-0 libseccomp2 && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tollgate && \
    install -d -o tollgate -g tollgate -m 0700 /var/lib/tollgate
COPY --from=build /usr/local/bin/tollgate /usr/local/bin/tollgate
COPY LICENSE /usr/share/doc/tollgate/LICENSE

USER 10001:10001
WORKDIR /var/lib/tollgate
VOLUME /var/lib/tollgate
# The clients' port and the operators' (/livez, /readyz, /metrics).
EXPOSE 8080 8081
ENV TOLLGATE_ADMIN_PORT=8081
# Asks /livez with nothing but bash. Needs "admin": {"address": "127.0.0.1:8081"} (or 0.0.0.0) in
# the configuration; another port goes into TOLLGATE_ADMIN_PORT.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/$TOLLGATE_ADMIN_PORT && printf 'GET /livez HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r -t 4 line <&3 && [[ $line == 'HTTP/1.1 200 '* ]]"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tollgate"]
CMD ["serve", "-c", "/etc/tollgate/tollgate.json"]
