/* What a step of gradient descent costs at least: one run in plain C, every matrix read once.

   Half the squared error of a network with sigmoid units in its reduced form: the numbers z of the
   neurons, of which t = tanh(z/2) is kept beside them, and a matrix N of m rows.  While a block of
   neurons is at hand, its gradient is formed from the residual, its t is moved, and its part of the
   next residual is summed up: the matrix goes through the cache once a step.

   z moves by 2x with x = c (1 - t²) g, g the gradient in sigmoid(z) and c a constant; t follows by
   the addition theorem, t' = (t + T)/(1 + t T) with T = tanh x.  No exponential is needed:

       |x| < 3e-6:  t' = t + (1 - t²) x (1 - t x)          up to 4|x|³/3 < 4e-17
       |x| < 1e-2:  T = x (15 + x²)/(15 + 6 x²)            up to |x|⁷/1575 < 1e-17

   Matrices lie block by block, N[b][i][j] for neuron b·BLOCK + j; places beyond the last neuron
   have N = 0 and t = -1, that is sigmoid(z) = 0, and stay so. */

#include <math.h>

enum { BLOCK = 32, LANES = 8 };

int block_size(void) { return BLOCK; }

/* Move a block of neurons along g. */
static void move(double *restrict t, double *restrict z, const double *restrict g, double c)
{
    double x[BLOCK], largest = 0.0;
    for (int j = 0; j < BLOCK; j++) {
        x[j] = c * (1.0 - t[j] * t[j]) * g[j];
        z[j] += 2.0 * x[j];
        largest = fmax(largest, fabs(x[j]));
    }
    if (largest < 3e-6)
        for (int j = 0; j < BLOCK; j++)
            t[j] += (1.0 - t[j] * t[j]) * x[j] * (1.0 - t[j] * x[j]);
    else if (largest < 1e-2)
        for (int j = 0; j < BLOCK; j++) {
            double s = x[j] * x[j], top = x[j] * (15.0 + s), bottom = 15.0 + 6.0 * s;
            t[j] = (t[j] * bottom + top) / (bottom + t[j] * top);
        }
    else
        for (int j = 0; j < BLOCK; j++) {
            double T = tanh(x[j]);
            t[j] = (t[j] + T) / (1.0 + t[j] * T);
        }
}

/* Add a block of N a to the sums, lane by lane. */
static void observe(int m, const double *restrict N, const double *restrict a,
                    double (*restrict sum)[LANES])
{
    for (int i = 0; i < m; i++)
        for (int b = 0; b < BLOCK; b += LANES)
            for (int l = 0; l < LANES; l++)
                sum[i][l] += N[i * BLOCK + b + l] * a[b + l];
}

static void clear(int m, double (*restrict sum)[LANES])
{
    for (int i = 0; i < m; i++)
        for (int l = 0; l < LANES; l++)
            sum[i][l] = 0.0;
}

/* r = the sums - y; return half its square, and clear the sums. */
static double residual(int m, double (*restrict sum)[LANES], const double *restrict y,
                       double *restrict r)
{
    double squares = 0.0;
    for (int i = 0; i < m; i++) {
        r[i] = -y[i];
        for (int l = 0; l < LANES; l++)
            r[i] += sum[i][l];
        squares += r[i] * r[i];
    }
    clear(m, sum);
    return 0.5 * squares;
}

/* The output layer is fixed: r = N t - y, where N and y were changed so that t stands for the
   sigmoid ½ + ½ t. */
void hidden(int m, int blocks, const double *restrict N, const double *restrict y,
            double *restrict t, double *restrict z, double c, int steps, double *restrict losses)
{
    double sum[m][LANES], r[m];
    clear(m, sum);
    for (int b = 0; b < blocks; b++)
        observe(m, N + (long)b * m * BLOCK, t + b * BLOCK, sum);
    losses[0] = residual(m, sum, y, r);
    for (int step = 1; step <= steps; step++) {
        for (int b = 0; b < blocks; b++) {
            const double *rows = N + (long)b * m * BLOCK;
            double g[BLOCK] = {0.0};
            for (int i = 0; i < m; i++)
                for (int j = 0; j < BLOCK; j++)
                    g[j] += r[i] * rows[i * BLOCK + j];
            move(t + b * BLOCK, z + b * BLOCK, g, c);
            observe(m, rows, t + b * BLOCK, sum);
        }
        losses[step] = residual(m, sum, y, r);
    }
}

/* Both layers: r = N a - y with a = ½ + ½ t, and N moves too, by -gain[i] r[i] a[j].  `rest` is the
   part of the squared residual that no network reaches. */
void both(int m, int blocks, double *restrict N, const double *restrict y,
          const double *restrict gain, double rest, double *restrict t, double *restrict z,
          double c, int steps, double *restrict losses)
{
    double sum[m][LANES], r[m], a[BLOCK];
    clear(m, sum);
    for (int b = 0; b < blocks; b++) {
        for (int j = 0; j < BLOCK; j++)
            a[j] = 0.5 + 0.5 * t[b * BLOCK + j];
        observe(m, N + (long)b * m * BLOCK, a, sum);
    }
    losses[0] = residual(m, sum, y, r) + 0.5 * rest;
    for (int step = 1; step <= steps; step++) {
        for (int b = 0; b < blocks; b++) {
            double *rows = N + (long)b * m * BLOCK;
            double g[BLOCK] = {0.0};
            for (int j = 0; j < BLOCK; j++)
                a[j] = 0.5 + 0.5 * t[b * BLOCK + j];
            for (int i = 0; i < m; i++)
                for (int j = 0; j < BLOCK; j++) {
                    g[j] += r[i] * rows[i * BLOCK + j];
                    rows[i * BLOCK + j] -= gain[i] * r[i] * a[j];
                }
            move(t + b * BLOCK, z + b * BLOCK, g, c);
            for (int j = 0; j < BLOCK; j++)
                a[j] = 0.5 + 0.5 * t[b * BLOCK + j];
            observe(m, rows, a, sum);
        }
        losses[step] = residual(m, sum, y, r) + 0.5 * rest;
    }
}
