/* What a program may ask and set; time. */
#include "check.h"

static void threads(int most) {
  CHECK(most >= 1 && omp_get_num_procs() >= 1);
  CHECK(omp_get_thread_limit() >= most);
  for (int asked = 1; asked <= 8; asked *= 2) {
    omp_set_num_threads(asked);
    CHECK(omp_get_max_threads() == asked);
#pragma omp parallel
    CHECK(omp_get_num_threads() == asked && omp_get_max_threads() == asked);
  }
  /* What a thread sets within a region is not the others'. */
#pragma omp parallel num_threads(3)
  {
    if (omp_get_thread_num() == 1)
      omp_set_num_threads(2);
#pragma omp barrier
    CHECK(omp_get_max_threads() == (omp_get_thread_num() == 1 ? 2 : 8));
  }
  CHECK(omp_get_max_threads() == 8);
  omp_set_num_threads(most);
}

static void dynamic(void) {
  CHECK(!omp_get_dynamic());
  omp_set_dynamic(1);
  CHECK(omp_get_dynamic());
#pragma omp parallel num_threads(4)
  CHECK(omp_get_num_threads() >= 1 && omp_get_num_threads() <= 4);
  omp_set_dynamic(0);
  CHECK(!omp_get_dynamic());
}

static void levels(void) {
  CHECK(omp_get_supported_active_levels() >= 1);
  for (int most = 1; most < 5; most++) {
    omp_set_max_active_levels(most);
    CHECK(omp_get_max_active_levels() == most);
  }
  omp_set_max_active_levels(1);
  CHECK(omp_get_level() == 0 && omp_get_active_level() == 0);
  CHECK(omp_get_ancestor_thread_num(0) == 0 && omp_get_team_size(0) == 1);
  CHECK(omp_get_ancestor_thread_num(1) == -1 && omp_get_team_size(1) == -1);
  CHECK(!omp_in_parallel() && !omp_in_final());
  CHECK(omp_get_max_task_priority() >= 0);
}

static void schedules(void) {
  omp_sched_t kind;
  int chunk;
  omp_set_schedule(omp_sched_dynamic, 17);
  omp_get_schedule(&kind, &chunk);
  CHECK(((int)kind & 0xff) == omp_sched_dynamic && chunk == 17);
#pragma omp parallel num_threads(2)
  {
    omp_sched_t own;
    int size;
    omp_get_schedule(&own, &size);
    CHECK(((int)own & 0xff) == omp_sched_dynamic && size == 17);
    omp_set_schedule(omp_sched_guided, 3);
  }
  omp_get_schedule(&kind, &chunk);
  omp_set_schedule(omp_sched_static, 0);
}

static void places(void) {
  int places = omp_get_num_places();
  CHECK(places >= 0);
  for (int place = 0; place < places; place++) {
    int count = omp_get_place_num_procs(place), *ids = malloc(count * sizeof *ids);
    CHECK(count >= 1);
    omp_get_place_proc_ids(place, ids);
    free(ids);
  }
  CHECK(omp_get_place_num() >= -1 && omp_get_place_num() < (places ? places : 1));
  int partition = omp_get_partition_num_places(), *numbers = malloc((partition + 1) * sizeof(int));
  CHECK(partition >= 0 && partition <= places);
  omp_get_partition_place_nums(numbers);
  free(numbers);
  omp_proc_bind_t bind = omp_get_proc_bind();
  CHECK(bind == omp_proc_bind_false || bind == omp_proc_bind_true ||
        bind == omp_proc_bind_master || bind == omp_proc_bind_close ||
        bind == omp_proc_bind_spread);
}

static void devices(void) {
  int most = omp_get_num_devices();
  CHECK(most == 0 && omp_is_initial_device());
  CHECK(omp_get_initial_device() == most);
  omp_set_default_device(0);
  CHECK(omp_get_default_device() == 0);
  CHECK(omp_get_num_teams() == 1 && omp_get_team_num() == 0);
}

static void time(void) {
  double tick = omp_get_wtick(), begin = omp_get_wtime(), now = begin;
  CHECK(tick > 0 && tick < 0.1);
  while (now < begin + 0.002) {
    double next = omp_get_wtime();
    CHECK(next >= now);
    now = next;
  }
  CHECK(now - begin < 60);
#pragma omp parallel
  {
    double own = omp_get_wtime();
    CHECK(own >= begin && omp_get_wtime() >= own);
  }
}

int main(void) {
  int most = omp_get_max_threads();
#if _OPENMP < 201511
#error "OpenMP 4.5 or newer is expected"
#endif
  threads(most);
  dynamic();
  levels();
  schedules();
  places();
  devices();
  time();
  CHECK(omp_get_max_threads() == most);
  return end("settings");
}
