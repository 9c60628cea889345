/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FAKE_H
#define FAKE_H

/* Carries out the operation that was started with ao_how; its result. */
int fake_run_events(void);

/* Events that are asked for. */
int fake_requests(void);

#endif
