#!/bin/sh
# What each process may do in Kafka, and nothing beyond it. Adds the rules below to a cluster; run again, it changes nothing.
#
#   deploy/kafka/acls.sh --bootstrap-server kafka-1:9093 --command-config admin.properties
#
# TOPIC_PREFIX: as kafka.topic_prefix, if that is not alipayhk. KAFKA_ACLS: Kafka's own kafka-acls.sh, if it is not on the path.
# The brokers need `authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer`; what is not allowed is denied.
# Write and Read bring Describe with them. An idempotent producer needs no right of its own since Kafka 2.8 (KIP-679).
set -eu
prefix=${TOPIC_PREFIX:-alipayhk}

while read -r user operations kind name; do
    # shellcheck disable=SC2046 # one word for each operation is meant
    "${KAFKA_ACLS:-kafka-acls.sh}" "$@" --add --allow-principal "User:$user" \
        $(printf ' --operation %s' $(echo "$operations" | tr ',' ' ')) "--$kind" "$prefix.$name" </dev/null
done <<'TABLE'
notifier-ingress     Write                              topic  inbox.v1
notifier-ingress     Read                               topic  orders.v1
notifier-orders      Read                               topic  inbox.v1
notifier-orders      Read,Write                         topic  orders.v1
notifier-orders      Write                              topic  quarantine.v1
notifier-orders      Read                               group  orders
notifier-fanout      Read                               topic  orders.v1
notifier-fanout      Read                               topic  commands.v1
notifier-fanout      Read,Write                         topic  deliveries.v1
notifier-fanout      Read                               group  fanout
notifier-topics      Create,Describe,DescribeConfigs    topic  inbox.v1
notifier-topics      Create,Describe,DescribeConfigs    topic  orders.v1
notifier-topics      Create,Describe,DescribeConfigs    topic  deliveries.v1
notifier-topics      Create,Describe,DescribeConfigs    topic  commands.v1
notifier-topics      Create,Describe,DescribeConfigs    topic  quarantine.v1
notifier-operator    Read,Write,DescribeConfigs         topic  inbox.v1
notifier-operator    Read,DescribeConfigs               topic  orders.v1
notifier-operator    Read,DescribeConfigs               topic  deliveries.v1
notifier-operator    Read,Write,DescribeConfigs         topic  commands.v1
notifier-operator    Read,DescribeConfigs               topic  quarantine.v1
notifier-operator    Describe                           group  orders
notifier-operator    Describe                           group  fanout
TABLE
