/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * As libvirtd does: the toolstack, and with it libxenlight, is a module that
 * the running program loads.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MODULE "/libtoolstack-module.so"

static struct call {
    int (*run)(int argc, char **argv);
    int argc;
    char **argv;
    int status;
} call;

static void *worker(void *unused)
{
    (void)unused;
    call.status = call.run(call.argc, call.argv);
    return NULL;
}

int main(int argc, char **argv)
{
    char path[4096];
    pthread_t thread;
    void *module;

    if (system("env >\"$FAKE_DIR/early-env\""))
        return 2;
    snprintf(path, sizeof(path), "%s" MODULE, getenv("FAKE_MODULES"));
    module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!module) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    call.run = (int (*)(int, char **))dlsym(module, "toolstack_main");
    call.argc = argc;
    call.argv = argv;
    /* What comes from a client is done by a thread. */
    if (!call.run || pthread_create(&thread, NULL, worker, NULL))
        return 2;
    pthread_join(thread, NULL);
    return call.status;
}
