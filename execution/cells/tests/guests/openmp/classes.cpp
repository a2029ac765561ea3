// C++: objects in clauses, in thread-private memory, in tasks and in reductions.
#include "check.h"
#include <vector>

static int alive, made;

struct Object {
  int number;
  explicit Object(int number = 1) : number(number) { count(1); }
  Object(const Object &other) : number(other.number) { count(1); }
  Object &operator=(const Object &other) = default;
  ~Object() {
    number = -1;
    count(-1);
  }
  static void count(int change) {
#pragma omp atomic
    alive += change;
#pragma omp atomic
    made += change > 0;
  }
};

static Object own(5);
#pragma omp threadprivate(own)

static thread_local int local = 3;

template <typename T> struct Static {
  static T value;
#pragma omp threadprivate(value)
};
template <typename T> T Static<T>::value = 11;

static void thread_private(int most) {
  int right = 0;
#pragma omp parallel reduction(+ : right)
  {
    right += own.number == 5 && local == 3 && Static<int>::value == 11;
    own.number = local = Static<int>::value = omp_get_thread_num();
  }
  CHECK(right == most);
#pragma omp parallel
  CHECK(own.number == omp_get_thread_num() && local == own.number &&
        Static<int>::value == own.number);
  own.number = 9;
#pragma omp parallel copyin(own)
  CHECK(own.number == 9);
}

static void clauses(int most) {
  int before = alive;
  {
    Object given(7), last(0), shared(1);
#pragma omp parallel firstprivate(given) shared(shared)
    {
      CHECK(given.number == 7);
      given.number += omp_get_thread_num();
      Object within(given);
      CHECK(within.number == 7 + omp_get_thread_num());
#pragma omp for lastprivate(last)
      for (int i = 0; i < 20; i++)
        last.number = i;
      CHECK(last.number == 19);
      Object handed(0);
#pragma omp single copyprivate(handed)
      handed.number = 42;
      CHECK(handed.number == 42);
    }
    CHECK(given.number == 7 && alive == before + 3);
#pragma omp parallel private(given)
    CHECK(given.number == 1);
  }
  CHECK(alive == before);
  (void)most;
}

struct Sum {
  double value = 0;
  Sum &operator+=(const Sum &other) {
    value += other.value;
    return *this;
  }
};
#pragma omp declare reduction(+ : Sum : omp_out += omp_in)
#pragma omp declare reduction(merge : std::vector<int> : omp_out.insert(                           \
        omp_out.end(), omp_in.begin(), omp_in.end()))

static void reductions() {
  Sum sum;
  std::vector<int> numbers;
#pragma omp parallel for reduction(+ : sum) reduction(merge : numbers)
  for (int i = 0; i < 100; i++) {
    sum.value += i;
    numbers.push_back(i);
  }
  CHECK(sum.value == 4950 && numbers.size() == 100);
  std::vector<bool> seen(100);
  for (int number : numbers)
    seen[number] = true;
  for (bool each : seen)
    CHECK(each);
}

static void tasks() {
  int before = alive, total = 0;
  {
    Object object(3);
    std::vector<int> numbers(10, 2);
#pragma omp parallel
#pragma omp single
    for (int i = 0; i < 20; i++) {
#pragma omp task firstprivate(object, numbers, i) shared(total)
      {
        object.number += i;
        numbers.push_back(i);
        CHECK(object.number == 3 + i && numbers.size() == 11 && numbers[10] == i);
#pragma omp atomic
        total += object.number;
      }
    }
#pragma omp parallel
#pragma omp single
#pragma omp taskloop firstprivate(object) shared(total) num_tasks(5)
    for (int i = 0; i < 10; i++) {
#pragma omp atomic
      total += object.number;
    }
  }
  CHECK(total == 20 * 3 + 190 + 30 && alive == before);
}

// Variables of functions are made once, whoever comes first.
static int given_out;

static int take() {
  double until = omp_get_wtime() + 0.0005;
  while (omp_get_wtime() < until)
    ;
#pragma omp atomic
  given_out++;
  return given_out;
}

template <int number> static int &once() {
  static Object object(take());
  return object.number;
}

static void statics() {
  int first = 0, second = 0;
#pragma omp parallel
  {
    int &mine = once<1>();
#pragma omp critical
    first = first ? (first == mine ? first : -1) : mine;
#pragma omp critical
    second = second ? (second == once<2>() ? second : -1) : once<2>();
  }
  CHECK(first == 1 && second == 2 && given_out == 2);
}

// Loops over iterators and ranges, lambdas, members.
struct Worker {
  std::vector<int> data = std::vector<int>(50, 1);
  int sum = 0;
  void run() {
    int total = 0;
#pragma omp parallel for reduction(+ : total)
    for (std::vector<int>::iterator at = data.begin(); at < data.end(); ++at)
      total += *at;
#pragma omp parallel for reduction(+ : total)
    for (int &each : data)
      total += each;
    sum = total;
    auto twice = [&](int i) {
#pragma omp atomic
      sum += 2 * i;
    };
#pragma omp parallel for
    for (int i = 0; i < 10; i++)
      twice(i);
  }
};

int main() {
  int most = omp_get_max_threads();
  thread_private(most);
  clauses(most);
  reductions();
  tasks();
  statics();
  Worker worker;
  worker.run();
  CHECK(worker.sum == 190);
  return end("classes");
}
