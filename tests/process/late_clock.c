/* A machine whose clock is an hour late, for one process. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	int code;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	code = real(clock, now);
	if (clock == CLOCK_REALTIME)
		now->tv_sec -= 3600;
	return code;
}
