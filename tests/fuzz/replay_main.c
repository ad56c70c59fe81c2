/* Replay: feeds files, and the files of folders, to a fuzz target, one after the other, without a
 * fuzzer. What was once found is in the corpus, and stays mended. */
#include "fuzz.h"

#include "common/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE_BYTES (1024 * 1024)

/* A fresh block of the exact size, as a fuzzer gives it. */
static void run(const char *data, size_t len)
{
    char *copy = fuzz_copy((struct fuzz_piece){data, len});

    (void)LLVMFuzzerTestOneInput((const uint8_t *)copy, len);
    free(copy);
}

static size_t replay(const char *path);

static size_t replay_folder(DIR *folder, const char *path)
{
    const struct dirent *entry;
    size_t count = 0;

    while ((entry = readdir(folder)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (entry->d_name[0] != '.') {
            CLEANUP(cleanup_free) char *inner = file_join(path, entry->d_name);
            count += replay(inner);
        }
    }
    return count;
}

/* How many inputs there were. The name is said first: a crash says nothing. */
static size_t replay(const char *path)
{
    CLEANUP(cleanup_free) char *data = NULL;
    DIR *folder = opendir(path);
    struct error error;
    size_t count;
    size_t len;

    if (folder != NULL) {
        count = replay_folder(folder, path);
        (void)closedir(folder);
        return count;
    }
    if (file_read(path, MAX_FILE_BYTES, &data, &len, &error) != OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        exit(2);
    }
    (void)fprintf(stderr, "%s\n", path);
    run(data, len);
    return 1;
}

int main(int argc, char **argv)
{
    size_t count = 0;

    run("", 0);
    for (int i = 1; i < argc; i++) {
        count += replay(argv[i]);
    }
    if (count == 0) {
        (void)fprintf(stderr, "usage: %s FILE|FOLDER...: no input was there\n", argv[0]);
        return 2;
    }
    (void)printf("%zu inputs\n", count);
    return 0;
}
