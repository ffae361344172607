#!/bin/sh
# Starts the upstream (nginx with the echo module, Debian: nginx libnginx-mod-http-echo). Idempotent. down.sh stops it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
run=${BENCH_RUN:-$here/.run}
: "${PORT_A:=18080}" "${PORT_B:=18081}" "${PORT_C:=18082}" "${PORT_D:=18083}"
: "${WORKERS:=1}" "${DELAY:=0.05}" "${RATE:=50}" "${BURST:=20}" "${RETRY_AFTER:=1}" "${STALL:=30}" "${STALL_PCT:=1}"
mkdir -p "$run/tmp"
[ -f "$run/bodies/1y/15.json" ] || python3 "$here/gen.py" bodies "$run/bodies" 16
[ -f "$run/bodies/1y/s/AAAA.json" ] || python3 "$here/gen.py" symbols "$run/bodies" 3800
[ -f "$run/keys-3800.txt" ] || python3 "$here/gen.py" keys "$run/keys-3800.txt" 3800
chmod -R a+rX "$run/bodies" 2>/dev/null || true
"$here/down.sh" 2>/dev/null || true
mods=$(nginx -V 2>&1 | tr ' ' '\n' | sed -n 's/^--modules-path=//p')
mod=${ECHO_MODULE:-$mods/ngx_http_echo_module.so}
[ -f "$mod" ] || { echo "no echo module at $mod; set ECHO_MODULE" >&2; exit 1; }
ndk=$(dirname "$mod")/ndk_http_module.so
load="load_module $mod;"; [ -f "$ndk" ] && load="load_module $ndk; $load"
sed -e "s|@ECHO@|$load|" -e "s|@WORKERS@|$WORKERS|;s|@DELAY@|$DELAY|;s|@RATE@|$RATE|;s|@BURST@|$BURST|;s|@RETRY_AFTER@|$RETRY_AFTER|" \
  -e "s|@STALL_PCT@|$STALL_PCT|g;s|@STALL@|$STALL|g;s|@PORT_A@|$PORT_A|;s|@PORT_B@|$PORT_B|;s|@PORT_C@|$PORT_C|;s|@PORT_D@|$PORT_D|" \
  "$here/nginx.conf.in" > "$run/nginx.conf"
[ "$(id -u)" = 0 ] && sed -i '1i user root;' "$run/nginx.conf"
nginx -p "$run/" -c "$run/nginx.conf" -e "$run/error.log"
for _ in 1 2 3 4 5 6 7 8 9 10; do
  curl -fsS "http://127.0.0.1:$PORT_A/ping" >/dev/null 2>&1 && { echo "upstream up: A=$PORT_A B=$PORT_B C=$PORT_C D=$PORT_D"; exit 0; }
  sleep 0.2
done
echo "upstream did not answer; see $run/error.log" >&2; exit 1
