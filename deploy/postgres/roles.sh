#!/bin/sh
# Runs once, when the container makes its database.
set -eu
export PGOPTIONS="-c sluice.owner_password=$SLUICE_OWNER_PASSWORD -c sluice.runtime_password=$SLUICE_RUNTIME_PASSWORD"
psql --set ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --file /etc/sluice/roles.sql
