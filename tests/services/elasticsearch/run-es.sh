#!/usr/bin/env bash
# A real single-node Elasticsearch for tests, from published Maven artifacts, on loopback only.
#   run-es.sh build                                   resolve and lay out target/es-home
#   run-es.sh start [--port N] [--data DIR] [--heap 1g]   start, wait until healthy, print the URL
#   run-es.sh stop  [--data DIR]                      stop the node started on that data directory
#   run-es.sh status [--data DIR]
#   run-es.sh jdk                                     print the JDK that would be used
# Needs: mvn, a JDK >= 21 (ES_JAVA_HOME, JAVA_HOME, or one under /usr/lib/jvm), curl, libzstd1.
set -Eeuo pipefail
trap 'echo "run-es.sh: failed at line $LINENO (exit $?)" >&2' ERR

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${ES_KIT_OUT:-$here/target}
home=$out/es-home
cmd=${1:-}; shift || true
port=9200; data=$out/data; heap=1g; wait_s=90
while [ $# -gt 0 ]; do
  case $1 in
    --port) port=$2; shift 2 ;;
    --data) data=$2; shift 2 ;;
    --heap) heap=$2; shift 2 ;;
    --wait) wait_s=$2; shift 2 ;;
    *) echo "unknown option: $1" >&2; exit 2 ;;
  esac
done
pidfile=$data/test-node.pid

feature_version() { "$1/bin/java" -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p'; }

find_jdk() {
  local candidate best='' best_v=0 v
  for candidate in "${ES_JAVA_HOME:-}" "${JAVA_HOME:-}" /usr/lib/jvm/*; do
    [ -n "$candidate" ] && [ -x "$candidate/bin/javac" ] || continue
    v=$(feature_version "$candidate")
    [ -n "$v" ] && [ "$v" -ge 21 ] || continue
    if [ "$candidate" = "${ES_JAVA_HOME:-}" ] || [ "$candidate" = "${JAVA_HOME:-}" ]; then echo "$candidate"; return; fi
    if [ "$v" -gt "$best_v" ]; then best=$candidate; best_v=$v; fi
  done
  [ -n "$best" ] || { echo "no JDK >= 21 found; set ES_JAVA_HOME" >&2; return 1; }
  echo "$best"
}

# alive PID: the process exists and is the node that this script started
alive() {
  local line
  [ -n "${1:-}" ] && [ -r "/proc/$1/cmdline" ] || return 1
  line=$(tr '\0' ' ' < "/proc/$1/cmdline")
  [[ $line == *"-Des.set.path.data=$data "*TestNode* ]]
}

build() {
  local jdk stamp; jdk=$(find_jdk)
  stamp=$(cat "$here/pom.xml" "$here"/src/*/*.java "$here"/src/*/*/*.java "$here"/config/* 2>/dev/null | sha256sum | cut -c1-16)
  [ "$(cat "$home/.stamp" 2>/dev/null || true)" != "$stamp" ] || return 0
  rm -rf "$home" "$out/classes" "$out/dependency-maven-plugin-markers"
  mvn -B -q -f "$here/pom.xml" -Des.out="$out" package >&2
  cp "$home"/descriptors/META-INF/es-plugins/transport-netty4/* "$home/modules/transport-netty4/"
  cp -r "$here/config" "$home/config"
  # The server wants libzstd under lib/platform/linux-<arch>; the system's one serves.
  local arch zstd; case $(uname -m) in aarch64) arch=aarch64 ;; *) arch=x64 ;; esac
  zstd=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p | awk '/libzstd\.so\.1 / && !p {p = $NF} END {print p}')
  [ -n "$zstd" ] || { echo "libzstd.so.1 not found (Debian package libzstd1)" >&2; return 1; }
  mkdir -p "$home/lib/platform/linux-$arch" && ln -sf "$zstd" "$home/lib/platform/linux-$arch/libzstd.so"
  local javac=("$jdk/bin/javac" --release 21 --module-path "$home/lib" --add-modules org.elasticsearch.server)
  "${javac[@]}" -d "$out/classes/node" "$here"/src/node/*.java
  "${javac[@]}" -d "$out/classes/plugin" "$here"/src/plugin/estest/*.java
  mkdir -p "$home/plugins/test-root"
  "$jdk/bin/jar" cf "$home/plugins/test-root/test-root.jar" -C "$out/classes/plugin" .
  local version; version=$(sed -n 's/^elasticsearch.version=//p' "$home/modules/transport-netty4/plugin-descriptor.properties")
  printf '%s\n' name=test-root 'description=GET / for the test node' version=1 java.version=21 \
    "elasticsearch.version=$version" classname=estest.RootPlugin > "$home/plugins/test-root/plugin-descriptor.properties"
  echo "$stamp" > "$home/.stamp"
}

start() {
  build
  mkdir -p "$data"; data=$(cd "$data" && pwd); pidfile=$data/test-node.pid
  local pid=''; [ ! -f "$pidfile" ] || pid=$(cat "$pidfile")
  if alive "$pid"; then echo "already running on $data (pid $pid)" >&2; return 1; fi
  local url=http://127.0.0.1:$port
  if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "port $port is in use" >&2; return 1; fi
  local jdk name; jdk=$(find_jdk); name=test-$port-$$-$RANDOM
  local args=(-Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -Dfile.encoding=UTF-8
    -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true -Dlog4j2.disable.jmx=true
    -Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false
    --enable-native-access=ALL-UNNAMED,org.elasticsearch.nativeaccess,org.elasticsearch.foreign,org.apache.lucene.core
    --module-path "$home/lib" --add-modules jdk.net,jdk.management.agent,jdk.incubator.vector,org.elasticsearch.server
    -cp "$out/classes/node" -Des.path.home="$home"
    -Des.set.node.name="$name" -Des.set.http.port="$port" -Des.set.path.logs="$data/logs" -Des.set.path.data="$data" TestNode)
  nohup "$jdk/bin/java" "${args[@]}" > "$data/console.log" 2>&1 < /dev/null &
  pid=$!; echo "$pid" > "$pidfile"
  local end=$((SECONDS + wait_s))
  until curl -fsS -o /dev/null "$url/_cluster/health?wait_for_status=yellow&timeout=5s" 2>/dev/null; do
    if ! kill -0 "$pid" 2>/dev/null; then echo "node exited; last lines of $data/console.log:" >&2; tail -n 30 "$data/console.log" >&2; return 1; fi
    if [ "$SECONDS" -ge "$end" ]; then echo "not healthy after ${wait_s}s" >&2; kill "$pid"; return 1; fi
    sleep 0.2
  done
  # Another server may have taken the port meanwhile and answer instead: the node's name tells.
  local root; root=$(curl -fsS "$url/") || root=
  if [[ $root != *"\"$name\""* ]]; then echo "port $port is answered by another server" >&2; kill "$pid" 2>/dev/null || true; return 1; fi
  echo "$url"
}

stop() {
  [ -d "$data" ] && data=$(cd "$data" && pwd); pidfile=$data/test-node.pid
  local pid=''; [ ! -f "$pidfile" ] || pid=$(cat "$pidfile")
  if ! alive "$pid"; then rm -f "$pidfile"; echo "not running" >&2; return 0; fi
  kill "$pid"
  for _ in $(seq 1 150); do kill -0 "$pid" 2>/dev/null || { rm -f "$pidfile"; return 0; }; sleep 0.2; done
  kill -9 "$pid"; rm -f "$pidfile"
}

case $cmd in
  build) build ;;
  start) start ;;
  stop) stop ;;
  jdk) find_jdk ;;
  status) [ -d "$data" ] && data=$(cd "$data" && pwd); p=$(cat "$data/test-node.pid" 2>/dev/null || true); if alive "$p"; then echo "running (pid $p)"; else echo stopped; exit 3; fi ;;
  *) sed -n '2,8p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
