/* A driver library with made-up GPUs, so that the real NVML path runs where there is none.
 *
 * The environment is read at every call and may change while the process runs:
 *   NVML_STUB_INIT      error code that nvmlInitWithFlags answers (default 0)
 *   NVML_STUB_DEVICES   number of GPUs (default 2)
 *   NVML_STUB_LOST      index of a GPU that fell off the bus: every question about it fails
 *   NVML_STUB_GONE      1: even the handle of the lost GPU is refused
 *   NVML_STUB_MEMORY    1: an old driver, which knows only the first version of the memory question
 *   NVML_STUB_NAME      the name of GPU 0
 *   NVML_STUB_PID       a process on GPU 0 (default 4711)
 *   NVML_STUB_CALLS     a file to which every start and shutdown is appended
 * GPU 1 does not know its power. Reserved memory is 1 GiB: version 1 counts it as used.
 */
#include <stdio.h>
#include <stdlib.h>

#define SUCCESS 0
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define INSUFFICIENT_SIZE 7
#define FUNCTION_NOT_FOUND 13
#define GPU_IS_LOST 15
#define ARGUMENT_VERSION_MISMATCH 25
#define GIB (1ULL << 30)

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct {
    unsigned pid;
    unsigned long long used_gpu_memory;
    unsigned gpu_instance, compute_instance;
} process_info;

static int gpus[8] = {0, 1, 2, 3, 4, 5, 6, 7};

static int setting(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

static int lost(const int *gpu) { return *gpu == setting("NVML_STUB_LOST", -1); }

static void record(const char *call) {
    const char *path = getenv("NVML_STUB_CALLS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s\n", call);
        fclose(file);
    }
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    record("start");
    return setting("NVML_STUB_INIT", SUCCESS);
}

int nvmlShutdown(void) {
    record("shutdown");
    return SUCCESS;
}

const char *nvmlErrorString(int code) { return code == 999 ? "Unknown Error" : "Some Error"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)setting("NVML_STUB_DEVICES", 2);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, int **gpu) {
    if ((int)index >= setting("NVML_STUB_DEVICES", 2)) return INVALID_ARGUMENT;
    if (lost(&gpus[index]) && setting("NVML_STUB_GONE", 0)) return GPU_IS_LOST;
    *gpu = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetName(const int *gpu, char *name, unsigned length) {
    if (lost(gpu)) return GPU_IS_LOST;
    const char *given = getenv("NVML_STUB_NAME");
    snprintf(name, length, "%s", given && *gpu == 0 ? given : "NVIDIA Stub 80GB");
    return SUCCESS;
}

int nvmlDeviceGetUUID(const int *gpu, char *uuid, unsigned length) {
    if (lost(gpu)) return GPU_IS_LOST;
    snprintf(uuid, length, "GPU-stub-%d", *gpu);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(const int *gpu, memory_v1 *memory) {
    if (lost(gpu)) return GPU_IS_LOST;
    *memory = (memory_v1){.total = 80 * GIB, .free = 18 * GIB, .used = 62 * GIB};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(const int *gpu, memory_v2 *memory) {
    if (lost(gpu)) return GPU_IS_LOST;
    if (setting("NVML_STUB_MEMORY", 2) == 1) return FUNCTION_NOT_FOUND;
    if (memory->version != (sizeof *memory | 2u << 24)) return ARGUMENT_VERSION_MISMATCH;
    memory->total = 80 * GIB;
    memory->reserved = 1 * GIB;
    memory->free = 18 * GIB;
    memory->used = 61 * GIB;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(const int *gpu, utilization *rates) {
    if (lost(gpu)) return GPU_IS_LOST;
    *rates = (utilization){.gpu = *gpu == 0 ? 98 : 7, .memory = 40};
    return SUCCESS;
}

int nvmlDeviceGetTemperature(const int *gpu, unsigned sensor, unsigned *celsius) {
    if (lost(gpu)) return GPU_IS_LOST;
    if (sensor != 0) return INVALID_ARGUMENT;
    *celsius = 71;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(const int *gpu, unsigned *milliwatts) {
    if (lost(gpu)) return GPU_IS_LOST;
    if (*gpu == 1) return NOT_SUPPORTED;
    *milliwatts = 412500;
    return SUCCESS;
}

/* Called twice, as the real one: the first call asks for the size. */
int nvmlDeviceGetComputeRunningProcesses_v3(const int *gpu, unsigned *count, process_info *processes) {
    if (lost(gpu)) return GPU_IS_LOST;
    unsigned running = *gpu == 0 ? 2 : 0, room = *count;
    *count = running;
    if (running == 0) return SUCCESS;
    if (processes == NULL || room < running) return INSUFFICIENT_SIZE;
    processes[0] = (process_info){(unsigned)setting("NVML_STUB_PID", 4711), 60 * GIB, ~0u, ~0u};
    processes[1] = (process_info){4712, ~0ULL, ~0u, ~0u}; /* the driver does not know how much */
    return SUCCESS;
}
