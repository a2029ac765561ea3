#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
static int tp;
#pragma omp threadprivate(tp)
long fib(int n){ long a,b; if(n<2) return n;
#pragma omp task shared(a)
 a=fib(n-1);
#pragma omp task shared(b)
 b=fib(n-2);
#pragma omp taskwait
 return a+b; }
int main(int argc,char**argv){
 int bad=0; int n=1000000; size_t big=(size_t)1200<<20;
 char*heap=malloc(big); if(!heap){puts("no heap");return 2;}
 double*a=malloc(n*sizeof*a); double s=0; long cnt=0; int mx=0;
#pragma omp parallel for schedule(static)
 for(int i=0;i<n;i++) a[i]=i;
#pragma omp parallel for reduction(+:s) reduction(max:mx)
 for(int i=0;i<n;i++){ s+=a[i]; if(i>mx)mx=i; }
 if(s!=(double)n*(n-1)/2||mx!=n-1){printf("reduction wrong %f\n",s);bad=1;}
#pragma omp parallel for schedule(dynamic,7)
 for(int i=0;i<n;i++){
#pragma omp atomic
  cnt++; }
 if(cnt!=n){printf("dynamic wrong\n");bad=1;}
 cnt=0;
#pragma omp parallel for schedule(guided)
 for(long i=0;i<n/10;i++){
#pragma omp critical
  cnt++; }
 if(cnt!=n/10){printf("critical wrong\n");bad=1;}
 int next=0;
#pragma omp parallel for ordered schedule(dynamic)
 for(int i=0;i<200;i++){
#pragma omp ordered
  { if(next!=i) bad=1; next++; } }
 if(bad)puts("ordered wrong");
 long f=0;
#pragma omp parallel
#pragma omp single
 f=fib(16);
 if(f!=987){printf("fib wrong %ld\n",f);bad=1;}
#pragma omp parallel
 tp=omp_get_thread_num();
#pragma omp parallel
 if(tp!=omp_get_thread_num()) bad=1;
 _Complex double z=0;
#pragma omp parallel for
 for(int i=0;i<1000;i++){
#pragma omp atomic
  z+=1; }
 if(__real__ z!=1000){puts("complex wrong");bad=1;}
 char**p=calloc(10000,sizeof*p);
#pragma omp parallel for schedule(dynamic)
 for(int i=0;i<10000;i++){ p[i]=malloc(i%97+1); for(int j=0;j<=i%97;j++)p[i][j]=i; }
 for(int i=0;i<10000;i++) for(int j=0;j<=i%97;j++) if(p[i][j]!=(char)i){bad=1;}
 for(size_t i=0;i<big;i+=4096) heap[i]=(char)(i>>12);
#pragma omp parallel for
 for(size_t i=0;i<big;i+=4096) if(heap[i]!=(char)(i>>12)) bad=1;
#pragma omp taskloop
 for(int i=0;i<10;i++) { if(i<0) bad=1; }
 printf("%s %d\n",bad?"wrong":"right",omp_get_max_threads());
 return bad; }
