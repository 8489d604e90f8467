#!/bin/sh
# run.sh HARAKA DIR PORT: start a server on embedded defaults, as an ordinary user, and say how to use it.
set -eu
haraka=${1:?usage: run.sh HARAKA DIR PORT}
dir=${2:?usage: run.sh HARAKA DIR PORT}
port=${3:?usage: run.sh HARAKA DIR PORT}
if [ ! -f "$dir/config/smtp.ini" ]; then
  "$haraka" -i "$dir" >/dev/null
  printf 'listen=127.0.0.1:%s\nnodes=cpus\n' "$port" >"$dir/config/smtp.ini"
  printf 'localhost\nexample.com\n' >>"$dir/config/host_list"
fi
cat <<EOF
Install directory: $dir   (log follows; Ctrl-C stops)

Send a mail from another terminal:
  swaks --server 127.0.0.1:$port --from you@example.org --to me@example.com
and find it below
  $dir/maildir/example.com/me/new/

EOF
exec "$haraka" -c "$dir"
