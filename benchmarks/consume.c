/* Reads a topic and throws it away, or passes it on, with the same librdkafka as the product: a floor in C.

   consume SERVERS TOPIC COUNT [TARGET COMPRESSION BYTES]

   Prints records a second and CPU seconds per million. With a target, of each record its key and the first BYTES
   are written there, acks=all, in the same number of partitions. Declares what it uses of librdkafka's stable ABI
   itself, so that no headers are needed. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

typedef struct message {
    int err;
    void *topic;
    int partition;
    void *payload;
    size_t len;
    void *key;
    size_t key_len;
    long long offset;
    void *private;
} message;

void *rd_kafka_conf_new(void);
int rd_kafka_conf_set(void *, const char *, const char *, char *, size_t);
void *rd_kafka_new(int, void *, char *, size_t);
int rd_kafka_poll_set_consumer(void *);
void *rd_kafka_topic_partition_list_new(int);
void *rd_kafka_topic_partition_list_add(void *, const char *, int);
int rd_kafka_topic_partition_list_set_offset(void *, const char *, int, long long);
int rd_kafka_assign(void *, void *);
void *rd_kafka_queue_get_consumer(void *);
ssize_t rd_kafka_consume_batch_queue(void *, int, message **, size_t);
void rd_kafka_message_destroy(message *);
void *rd_kafka_topic_new(void *, const char *, void *);
int rd_kafka_produce(void *, int, int, void *, size_t, const void *, size_t, void *);
int rd_kafka_flush(void *, int);
int rd_kafka_poll(void *, int);

enum { PRODUCER, CONSUMER, BATCH = 1000, PARTITIONS = 6, COPY = 2 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void *client(int kind, const char *const *properties) {
    char fault[512];
    void *conf = rd_kafka_conf_new();
    for (; *properties; properties += 2)
        if (rd_kafka_conf_set(conf, properties[0], properties[1], fault, sizeof fault)) exit(2);
    return rd_kafka_new(kind, conf, fault, sizeof fault);
}

int main(int count, char **arguments) {
    const char *servers = arguments[1], *topic = arguments[2];
    long wanted = atol(arguments[3]), seen = 0;
    size_t most = count > 6 ? (size_t)atol(arguments[6]) : 0;
    const char *reading[] = {"bootstrap.servers", servers, "group.id", "floor", "queued.min.messages", "50000",
                             "queued.max.messages.kbytes", "16384", "fetch.wait.max.ms", "50", "check.crcs", "true", 0};
    void *consumer = client(CONSUMER, reading), *target = 0, *producer = 0;
    if (most) {
        const char *writing[] = {"bootstrap.servers", servers, "acks", "all", "enable.idempotence", "true",
                                 "linger.ms", "10", "compression.type", arguments[5], "compression.level",
                                 arguments[5][0] == 'g' ? "1" : "-1", "queue.buffering.max.messages", "1000000", 0};
        producer = client(PRODUCER, writing);
        target = rd_kafka_topic_new(producer, arguments[4], 0);
    }
    rd_kafka_poll_set_consumer(consumer);
    void *places = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int one = 0; one < PARTITIONS; one++) {
        rd_kafka_topic_partition_list_add(places, topic, one);
        rd_kafka_topic_partition_list_set_offset(places, topic, one, 0);
    }
    rd_kafka_assign(consumer, places);
    void *queue = rd_kafka_queue_get_consumer(consumer);
    message *batch[BATCH];
    double began = 0;
    while (seen < wanted) {
        ssize_t got = rd_kafka_consume_batch_queue(queue, 1000, batch, BATCH);
        if (!began && got > 0) began = seconds();
        for (ssize_t at = 0; at < got; at++) {
            message *one = batch[at];
            if (!one->err) {
                seen++;
                size_t length = one->len < most ? one->len : most;
                while (target && rd_kafka_produce(target, one->partition, COPY, one->payload, length, one->key,
                                                  one->key_len, 0))
                    rd_kafka_poll(producer, 10);
            }
            rd_kafka_message_destroy(one);
        }
        if (producer) rd_kafka_poll(producer, 0);
    }
    if (producer && rd_kafka_flush(producer, 60000)) return 3;
    double wall = seconds() - began;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("%.0f %.3f\n", seen / wall, cpu * 1e6 / seen);
    fflush(stdout);
    _exit(0);
}
