/* A token that counts wrong PINs, tells of its last try, and locks itself, as cards do and SoftHSM does not: everything
 * else is SoftHSM's own. The third wrong PIN locks it; the count outlives the process, in the file that COUNT names. */

#include <dlfcn.h>
#include <stdio.h>

typedef unsigned long word;
typedef word (*call)();

/* CK_FUNCTION_LIST: PKCS#11 2.40, in the order of its functions. */
struct functions {
	unsigned char version[2];
	call calls[68];
};

enum { GET_FUNCTION_LIST = 3, GET_TOKEN_INFO = 6, LOGIN = 18 };
enum { OK = 0, PIN_INCORRECT = 0xa0, PIN_LOCKED = 0xa4 };
enum { USER = 1, FLAGS_AT = 96, FINAL_TRY = 0x20000, LOCKED = 0x40000, TRIES = 3 };

static struct functions theirs, ours;

static int wrong(void)
{
	int count = 0;
	FILE *file = fopen(COUNT, "r");
	if (file) {
		if (fscanf(file, "%d", &count) != 1)
			count = 0;
		fclose(file);
	}
	return count;
}

static void remember(int count)
{
	FILE *file = fopen(COUNT, "w");
	if (file) {
		fprintf(file, "%d\n", count);
		fclose(file);
	}
}

static word get_token_info(word slot, unsigned char *info)
{
	word result = theirs.calls[GET_TOKEN_INFO](slot, info);
	if (result == OK && wrong() >= TRIES - 1)
		*(word *)(info + FLAGS_AT) |= wrong() >= TRIES ? LOCKED : FINAL_TRY;
	return result;
}

static word login(word session, word who, unsigned char *pin, word length)
{
	word result;
	if (who == USER && wrong() >= TRIES)
		return PIN_LOCKED;
	result = theirs.calls[LOGIN](session, who, pin, length);
	if (who == USER && result == PIN_INCORRECT)
		remember(wrong() + 1);
	if (who == USER && result == OK)
		remember(0);
	return result;
}

word C_GetFunctionList(struct functions **list)
{
	struct functions *found;
	void *module = dlopen(SOFTHSM, RTLD_NOW);
	word (*get)(struct functions **) = module ? (word(*)(struct functions **))dlsym(module, "C_GetFunctionList") : 0;
	if (!get || get(&found) != OK)
		return 5; /* CKR_GENERAL_ERROR */
	ours = theirs = *found;
	ours.calls[GET_FUNCTION_LIST] = (call)C_GetFunctionList;
	ours.calls[GET_TOKEN_INFO] = (call)get_token_info;
	ours.calls[LOGIN] = (call)login;
	*list = &ours;
	return OK;
}
