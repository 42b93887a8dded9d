#!/bin/bash
# Start a RabbitMQ of one's own on the loopback address, without systemd: rabbit_up.sh DIR PORT; rabbit_down.sh DIR ends it.
set -euo pipefail
dir=$(realpath -m "$1")
port=$2
mkdir -p "$dir"/{data,log,home}
echo '[].' > "$dir/plugins"
cat > "$dir/environment" <<SETTINGS
export HOME=$dir/home
export RABBITMQ_NODENAME=alflow$port@localhost
export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
export RABBITMQ_NODE_PORT=$port
export RABBITMQ_DIST_PORT=$((port + 20000))
export RABBITMQ_MNESIA_BASE=$dir/data
export RABBITMQ_LOG_BASE=$dir/log
export RABBITMQ_ENABLED_PLUGINS_FILE=$dir/plugins
export RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_CONFIG_FILE=$dir/no-such-file
export RABBITMQ_PID_FILE=$dir/pid
export ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none"
SETTINGS
chown -R rabbitmq: "$dir"
chmod 755 "$dir"
setsid setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups \
  bash -c ". $dir/environment; exec /usr/lib/rabbitmq/bin/rabbitmq-server" > "$dir/log/out" 2>&1 < /dev/null &
for _ in $(seq 600); do
  (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null && exit 0
  sleep 0.1
done
tail "$dir/log/out" >&2
exit 1
