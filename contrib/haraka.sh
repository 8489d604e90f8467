#!/bin/sh
# For supervisors that run a script in the foreground and keep its output: errors go where the log goes.
exec haraka -c "${HARAKA:-/usr/local/haraka}" 2>&1
