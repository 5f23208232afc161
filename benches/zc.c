/* zc: one end of a stream of messages under CURVE or NULL, on libzmq; benches/curve.py runs it.
 * gcc -O2 benches/zc.c -o zc -lzmq
 *   zc push|pull bind|connect EP SIZE COUNT SERVER_SECRET CLIENT_SECRET   keys are Z85, `-` is NULL
 * The pulling end prints messages a second, from the first to the last; both print the processor
 * time they took. */
#include <zmq.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    if (argc != 8) return fprintf(stderr, "see source\n"), 1;
    int push = !strcmp(argv[1], "push"), bind = !strcmp(argv[2], "bind");
    size_t size = atol(argv[4]);
    long count = atol(argv[5]);
    char server[41], client[41];
    void *context = zmq_ctx_new(), *s = zmq_socket(context, push ? ZMQ_PUSH : ZMQ_PULL);
    if (*argv[6] != '-') {
        zmq_curve_public(server, argv[6]);
        zmq_curve_public(client, argv[7]);
        if (bind) {
            int yes = 1;
            zmq_setsockopt(s, ZMQ_CURVE_SERVER, &yes, sizeof yes);
            zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, argv[6], 41);
        } else {
            zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, server, 41);
            zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, client, 41);
            zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, argv[7], 41);
        }
    }
    if (bind ? zmq_bind(s, argv[3]) : zmq_connect(s, argv[3])) return perror(argv[3]), 2;
    char *body = malloc(size + 1);
    memset(body, 7, size + 1);
    double start = 0, rate = 0;
    for (long i = 0; i < count; i++) {
        if ((push ? zmq_send(s, body, size, 0) : zmq_recv(s, body, size + 1, 0)) < 0) return 3;
        if (!i) start = now(CLOCK_MONOTONIC);
    }
    if (!push) rate = (count - 1) / (now(CLOCK_MONOTONIC) - start);
    /* A pushing end lingers until all is written. */
    zmq_close(s);
    zmq_ctx_term(context);
    printf("rate=%.0f cpu=%.3f\n", rate, now(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
