"""The mutations: a line that is changed, what it becomes, and the tests that must go red.

Each is a mistake that is easily made and hard to see: a threshold, a sign, an index off by one, a term left out, an end
of the range of exponents, a status. Where no test can tell the difference, `survives` says why.
"""

from dataclasses import dataclass

ACCURACY = "tests/solvers/test_accuracy.py"
CERTIFY = "tests/solvers/test_certify.py"
CORE = "tests/solvers/_core"
ERRORS = "tests/solvers/test_errors.py"
ITERATIVE = "tests/solvers/test_iterative.py"
LEARNED = "tests/solvers/learned"
REFERENCE = "tests/solvers/test_reference.py"
DIRECT = "tests/solvers/test_direct.py"
REFINEMENT = "tests/solvers/test_refinement.py"
RANK = "tests/solvers/test_rank.py"
SOLVER = "tests/solvers/test_solver.py"
FOUND = "tests/solvers/testing/test_found.py"
SHIPPED = "tests/solvers/testing/test_shipped.py::test_shipped_solver_passes"
KERNELS = "tests/kernels"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A change of one place in a file."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str = ""

    def __str__(self) -> str:
        old, new = (" ".join(part.split()) for part in (self.old, self.new))
        return f"{self.file}: {old} → {new}"


def changes(file: str, tests: str | tuple[str, ...], *pairs: tuple[str, ...]) -> list[Mutation]:
    """Mutations of one file that the same tests must see: (old, new), or (old, new, why it survives)."""
    files = (tests,) if isinstance(tests, str) else tests
    return [Mutation(file=file, old=old, new=new, tests=files, survives="".join(reason)) for old, new, *reason in pairs]


MUTATIONS = [
    *changes(
        "solvers/certify.py",
        CERTIFY,
        ("root * root == square else root + 1", "root * root == square else root"),
        (
            "square, rest = divmod(wrong << max(2 * shift, 0), size",
            "square, rest = divmod(wrong << max(shift, 0), size",
        ),
        ("nearest if Fraction(nearest) <= value else", "nearest if True else"),
        ("return -math.inf if value < 0 else sys.float_info.max", "return -math.inf if value < 0 else math.inf"),
        ("pair if finite[i].all() else math.inf", "pair"),
        ("both[i], ranks[i] = math.nan, False", "both[i], ranks[i] = math.nan, True"),
        ("_below(_fraction(ratio.lower()))", "_below(_fraction(ratio.upper()))"),
    ),
    *changes(
        "solvers/reference.py",
        REFERENCE,
        ("if pivot == 0:", "if pivot.bit_length() < 4:"),
        ("rest = row[n] * previous - sum(", "rest = row[n] * previous + sum("),
        ("[right_exponent - e for e in exponents]", "[right_exponent for e in exponents]"),
        ("x = (_odd(hi, lo) if A.dtype == torch.float32 else hi)", "x = hi"),
        ("(top * q - p * bottom) / (bottom * q)", "0.0"),
        ('(float("inf") if top > 0 else float("-inf"))', 'float("inf")'),
        ("w << (e - least) if w else 0", "w << (e - least + 1) if w else 0"),
    ),
    *changes(
        "solvers/errors.py",
        ERRORS,
        ("_FAR_FROM_SOLUTION = 60", "_FAR_FROM_SOLUTION = 4"),
        ("torch.where(far, distant, ldexp(near, gap))", "ldexp(near, gap)"),
        ("damping = nu[:, None, None] *", "damping = 0 * nu[:, None, None] *"),
        ("if k + 1 < n:", "if k + 2 < n:"),
        ("_MOST_DIGITS = 15.0", "_MOST_DIGITS = 16.0"),
        ("return _finish(digits, x, nonfinite=0.0)", "return _finish(digits, x)"),
        ("own = exponent(r.hi, -1)", "own = 0 * exponent(r.hi, -1)"),
        ("wrong * wrong / difference.hi.shape[-1], 2 * up)", "wrong * wrong / difference.hi.shape[-1], up)"),
    ),
    *changes(
        "solvers/_core/double_double.py",
        CORE,
        ("_SPLITTER = 2.0**27 + 1.0", "_SPLITTER = 2.0**29 + 1.0"),
        ("return DD(s, (a - (s - t)) + (b - t))", "return DD(s, b - t)"),
        ("return quick_two_sum(first, rest.hi / b.hi)", "return from_double(first)"),
        ("p.lo + (a.hi * b.lo + a.lo * b.hi)", "p.lo + a.hi * b.lo"),
        ("hi[half : 2 * half], lo[half : 2 * half]", "hi[half : 2 * half], lo[:half]"),
    ),
    *changes(
        "solvers/_core/scaling.py",
        (CORE, SOLVER),
        ("_NORMAL = 1022", "_NORMAL = 1030"),
        (
            "return (2 * mantissa * power_of_two(first) * power_of_two(rest))",
            "return (2 * mantissa * power_of_two(first))",
        ),
        ("e.clamp(-_FAR, _FAR) - 1", "e.clamp(-_FAR, _FAR)"),
    ),
    *changes(
        "solvers/_core/scaling.py",
        ITERATIVE,
        ("f = _exponent(b.abs().amax(dim=-1), of_zero=-_FAR)", "f = _exponent(b.abs().amax(dim=-1))"),
        ("of_zero=-2 * _FAR) + e)", "of_zero=-2 * _FAR))"),
        ("e.masked_fill(largest == 0, of_zero) if of_zero else e", "e"),
    ),
    *changes(
        "solvers/_core/scaling.py",
        (DIRECT, FOUND, RANK, ACCURACY),
        ("fits = ordinary(residual) | ordinary(right) | (right == 0)", "fits = right >= 0"),
        ("return ~(ordinary(size) & ordinary(least) & fits", "return ~(ordinary(size) & fits"),
    ),
    *changes(
        "solvers/_core/rank.py",
        (RANK, DIRECT),
        ("return 1.0 / (max(m, n) *", "return 1.0 / (n *"),
        ("return 1.0 / (max(m, n) *", "return 1.0 / (1e3 * max(m, n) *"),
        (
            "kappa = _frobenius(upper) * _frobenius(inverse)",
            "kappa = 1 / upper.diagonal(dim1=-2, dim2=-1).abs().amin(dim=-1)",
        ),
        ("return _condition(upper / power_below(upper.abs().amax(dim=-2, keepdim=True)))", "return _condition(upper)"),
        ("s[:, -1] * limit <= s[:, 0]", "s[:, -1] * limit <= 1e-3 * s[:, 0]"),
        ("doubtful &= torch.isfinite(R).all(dim=-1).all(dim=-1)", "pass"),
    ),
    *changes(
        "solvers/_core/rank.py",
        (RANK, ITERATIVE),
        (
            "torch.as_tensor(result.status).masked_fill(bad, int(Status.RANK_DEFICIENT))",
            "torch.as_tensor(result.status)",
        ),
        ("condition if plain else condition_of(R)", "condition"),
        (
            "return _condition(ldexp(R.triu(), (e - e.amax(dim=-1, keepdim=True)).unsqueeze(-2)))",
            "return _condition(R.triu())",
        ),
    ),
    *changes(
        "solvers/qr.py",
        (DIRECT, ACCURACY, RANK, KERNELS + "/test_householder.py"),
        ("_GRADED = 2.0**10", "_GRADED = 2.0**500"),
        ("high[0] <= _GRADED * low[1] and high[4] < limit", "high[0] <= _GRADED * low[1]"),
        ("if m == n:", "if False:", "it only spares the careful way: a residual of 0 is taken afresh there"),
        ("again = odd | bad | (residual == 0)", "again = bad | (residual == 0)"),
        (
            "again = odd | bad | (residual == 0)",
            "again = odd | (residual == 0)",
            "where A is deficient it moves the residual norm by some u ‖A‖‖x‖, below which that is rounding",
        ),
        ('own = {Promise.EXACT_BATCH} if self.backend == "fused" else set()', "own = {Promise.EXACT_BATCH}"),
        ("argsort(dim=-1, descending=True, stable=True)", "argsort(dim=-1, stable=True)"),
        ("graded = rows.amax(dim=-1, keepdim=True) / _GRADED >", "graded = rows.amax(dim=-1, keepdim=True) >"),
        ("status[bad] = int(Status.RANK_DEFICIENT)", "pass"),
    ),
    *changes(
        "solvers/cholesky.py",
        (DIRECT, ACCURACY, RANK, KERNELS + "/test_cholesky.py"),
        ("limit = math.sqrt(rank_limit(n, n, A.dtype))", "limit = rank_limit(n, n, A.dtype)"),
        ("lost = beyond(R, condition, limit) | torch.isinf(condition)", "lost = beyond(R, condition, limit)"),
        ("if bool(far.any()):", "if False:"),
        ("condition[lost] = condition_of(factor)", "pass"),
    ),
    *changes(
        "solvers/_core/operators.py",
        CORE,
        ("norm=float(np.ldexp(norm, -more))", "norm=1.0"),
        ("_PAIRS = 2", "_PAIRS = 0"),
        ("_POWER_STEPS = 12", "_POWER_STEPS = 1"),
        ("np.finfo(np.float64).eps ** 0.5 * size", "np.finfo(np.float64).eps ** 0.25 * size"),
        ("self._exponent // 2 if abs(self._exponent) > _FAR else 0", "0"),
    ),
    *changes(
        "solvers/_core/loop.py",
        (ITERATIVE, CORE + "/test_operators.py"),
        ("_GROWN = 2.0", "_GROWN = 1e30"),
        (
            "consistent = r_norm <= tolerance * (self.b_norm + self.A_norm * x_norm)",
            "consistent = r_norm <= tolerance**0.5 * (self.b_norm + self.A_norm * x_norm)",
        ),
        ("(g_norm <= tolerance * self.A_norm * r_norm)", "(g_norm <= tolerance * self.A_norm)"),
        ("_iterate_of(state)[done], ruling[done], k", "_iterate_of(state)[done], ruling[done], k + 1"),
        (".masked_fill(~finite, int(Status.BREAKDOWN))", ""),
        ("if bool((self.b_norm >= 0.5).all()):", "if True:"),
        ("return g_norm <= noise * self.A_norm * (self.A_norm * x_norm + self.b_norm)", "return g_norm >= 0"),
        ("return (self.b_norm > math.sqrt(info.tiny) / info.eps)", "return (self.b_norm >= 0)"),
        ("again = torch.nonzero(~holds).squeeze(-1)", "again = claimed[:0]"),
        (
            "torch.where(finite, ldexp(norm(b - matvec(self.A, x)), e)",
            "torch.where(finite, norm(b - matvec(self.A, x))",
        ),
    ),
    *changes("solvers/_core/krylov.py", ITERATIVE, ("steady & held.at_rest(", "held.at_rest(")),
    *changes(
        "solvers/cgls.py",
        (ACCURACY, ITERATIVE),
        ("beta = divide(size, s.s_norm).square()[:, None]", "beta = divide(size, s.s_norm)[:, None]"),
    ),
    *changes(
        "solvers/lsqr.py",
        (ACCURACY, ITERATIVE),
        ("rho_bar=-c * alpha", "rho_bar=c * alpha"),
        ("g_norm=phi_bar * alpha * c.abs()", "g_norm=phi_bar * alpha * sine"),
    ),
    *changes(
        "solvers/lsmr.py",
        (ACCURACY, ITERATIVE),
        ("r_norm=torch.hypot(beta_d - tau_d, beta_dd)", "r_norm=torch.hypot(beta_d + tau_d, beta_dd)"),
        ("divide(theta_bar * rho, s.rho * s.rho_bar)", "divide(theta_bar * rho, rho * s.rho_bar)"),
    ),
    *changes(
        "solvers/newton_schulz.py",
        (ACCURACY, ITERATIVE),
        ("condition.square() >= 1) &", "condition.square() >= 1e20) &"),
        ("lambda _, steady: steady", "lambda _, steady: steady | True"),
        (
            "(change <= eps * norm(x)) | (change >= 0.5 * s.change)",
            "(change <= eps**0.5 * norm(x))",
            "a correction of √eps leaves ‖I − X A‖ times as much, about κ u in an X that has converged",
        ),
        ("base = torch.where(s.refining[:, None], s.x, s.offset)", "base = s.offset"),
    ),
    *changes(
        "solvers/gradient_descent.py",
        (ACCURACY, ITERATIVE),
        ("2.0 / torch.where(total == 0, 1.0, total))", "1.0 / torch.where(total == 0, 1.0, total))"),
        ("low = torch.where(genuine, s, high[:, None]).amin(dim=-1)", "low = s[:, -1]"),
        ("ldexp(given, 2 * problem.matrix_exponent)", "ldexp(given, problem.matrix_exponent)"),
    ),
    *changes(
        "solvers/chebyshev.py",
        (ACCURACY, ITERATIVE),
        ("(high**2 - low**2) / 2", "(high**2 + low**2) / 2"),
        ("denominator = 2 * theta - s.rho * delta", "denominator = 2 * theta"),
        ("patience=kappa.clamp(min=_PATIENCE)", "patience=kappa.clamp(max=_PATIENCE)"),
        ("_NOISE = 4.0", "_NOISE = 0.01"),
        ("high = high * (1 + widened)", "high = high * (1 + 1e-2)"),
    ),
    *changes(
        "solvers/svd.py",
        (DIRECT, ACCURACY, SOLVER, RANK),
        ("-2 if columnwise else (-2, -1)).reshape", "(-2, -1)).reshape"),
        ("power_below(sizes) if m >= n else None", "None"),
        ("torch.nan_to_num(s[:, 0] / s[:, -1].abs(), nan", "torch.nan_to_num(s[:, 0] / s[:, -1], nan"),
        ("rcond=cutoff,", "rcond=0.0,"),
        ("x[short] = _of_any_size(A[short]", "_of_any_size(A[short]"),
        ("return ldexp(x, right - e), s", "return ldexp(x, right + e), s"),
        ("residual = answer.residuals.squeeze(-1).sqrt()", "residual = answer.residuals.squeeze(-1)"),
    ),
    *changes(
        "solvers/_core/arrays.py",
        SOLVER,
        ("return plain.clone() if plain.data_ptr() % _LINE else plain", "return plain"),
        ("np.copyto(copy.numpy(), value)", "return torch.from_numpy(value.copy())"),
    ),
    *changes(
        "solvers/_core/triangular.py",
        CORE,
        ("own = exponent(torch.where(finite[:, None], r, 0.0), -1)", "own = right"),
        ("far = ~finite & torch.isfinite(x).all(dim=-1)", "far = finite & ~finite"),
        ("return torch.where(finite, size, torch.inf)", "return size"),
    ),
    *changes(
        "solvers/solver.py",
        (DIRECT, SOLVER),
        ("residual = torch.where(finite, residual, torch.inf)", "pass"),
        ("finite | (status == Status.RANK_DEFICIENT), status", "finite | (status >= 0), status"),
    ),
    *changes(
        "solvers/fused/householder.py",
        KERNELS + "/test_householder.py",
        ("columns.amin(dim=-1)", "columns.amax(dim=-1)"),
    ),
    *changes(
        "solvers/refinement.py",
        REFINEMENT,
        ("unit, most = torch.finfo(s.x.dtype).eps / 2,", "unit, most = torch.finfo(s.x.dtype).eps * 4,"),
        ("return dd.quick_two_sum(total.hi, total.lo + a.lo)", "return dd.quick_two_sum(total.hi, total.lo)"),
        ("-dd.matvec(A.mT, r).hi", "dd.matvec(A.mT, r).hi"),
        ("usable = usable & (_MARGIN * condition <= rank_limit(m, n, A.dtype))", "usable = usable & (condition > 0)"),
        ("better = usable & (rest | (_MOVED * change <= norm(x.hi - s.first)))", "better = usable"),
        ("~(first | second | (change < s.change / 2))", "~(first | (change < s.change / 2))"),
        ("| (s.taken + 1 >= most)", ""),
        ("if Promise.COLUMNWISE not in self.promises:", "if False:"),
        ("return self.solver.promises & {", "return {"),
        ("object.__setattr__(self, documented, getattr(self.solver, documented))", "pass"),
    ),
    *changes(
        "solvers/learned/base.py",
        LEARNED,
        ("self._small(part, x, *part.truth(x)) & self._vouched(part, x)", "self._small(part, x, *part.truth(x))"),
        ("ended = torch.where(finite, RUNNING, int(Status.BREAKDOWN))", "ended = torch.full_like(s.ended, RUNNING)"),
        ("return small & allowed.isfinite() & (tolerance > 0)", "return small & (tolerance > 0)"),
        ("& (max(m, n) * problem.unit * kappa <= _VOUCHED)", ""),
        ("of_x, of_r = share.clamp(max=_DIGIT)", "of_x, of_r = share"),
    ),
    *changes(
        "solvers/learned/gradient.py",
        LEARNED,
        ("(self.step(p.A, now.b, now.d).to(dtype) + now.h)", "self.step(p.A, now.b, now.d).to(dtype)"),
        ("f, h = (r, 0 * g) if first else (0 * r, -g)", "f, h = (r, 0 * g)"),
        (
            "torch.full_like(eta, self.step_size), -2 * p.to_model",
            "torch.full_like(eta, self.step_size), -p.to_model",
        ),
    ),
    *changes(
        "solvers/learned/iterates.py",
        LEARNED,
        ("LARGEST_CONTRACTION = 1.96", "LARGEST_CONTRACTION = 2.6"),
        ("torch.where(weight == 1, 0.5, weight / 4)", "weight / 4"),
        ("return ((low**2 + high**2) / 2).sqrt()", "return high"),
    ),
    *changes(
        "solvers/learned/newton_schulz.py",
        LEARNED,
        ("(m.defect < CONVERGED_DEFECT) & (defect >= m.defect / 2)", "(m.defect < CONVERGED_DEFECT)"),
        ("d - rmatvec(X, rmatvec(A, d) - g)", "d"),
        ("broken = ~(m.defect <= BROKEN_DEFECT * s.problem.A.shape[-1] ** 0.5)", 'broken = ~(m.defect < float("inf"))'),
        ("e = coarse + torch.where(length > 0, length.log2().round(), 0.0).to(torch.int64)", "e = coarse"),
    ),
    *changes(
        "solvers/fused/chunks.py",
        KERNELS + "/test_chunks.py",
        ("torch.where(g_norm < lowest[:-1], count, -1 - running.idle)", "torch.where(g_norm < lowest[:-1], count, -1)"),
        ("resumed=judged > 0", "resumed=False"),
        ("judged, chunk = judged + steps,", "judged, chunk = judged + steps + 1,"),
        (
            "order = torch.minimum(torch.arange(len(iterates))[:, None], at)",
            "order = torch.arange(len(iterates))[:, None].expand(-1, len(at))",
        ),
    ),
    *changes(
        "solvers/fused/__init__.py",
        (KERNELS + "/test_choice.py", KERNELS + "/test_iterates.py", KERNELS + "/test_convolution.py"),
        ("return tensor.detach().resolve_neg().contiguous()", "return tensor.detach().contiguous()"),
        (
            "return fwAD._current_level >= 0 or any(is_functorch_wrapped_tensor(t) for t in tensors)",
            "return fwAD._current_level >= 0",
        ),
        ("MAX_COLUMNS = 32", "MAX_COLUMNS = 33"),
        ("return None if takes else", "return None if True else"),
        ("tuple(map(int, sizes)), tensors[0].device.index", "tuple(map(int, sizes)), 0"),
    ),
    *changes(
        "kernels/include/precisionlab/householder.h",
        KERNELS + "/test_householder.py",
        ("const T v0 = alpha - beta;", "const T v0 = alpha + beta;"),
        ("const T beta = -with_sign(", "const T beta = with_sign("),
        ("where_zero(below, T(0.0), T(-1.0) / (beta * v0))", "T(-1.0) / (beta * v0)"),
        ("for (int i = k + 2; i < m; ++i) {", "for (int i = k + 3; i < m; ++i) {"),
        ("if (j > i) c = nmadd", "if (j >= i) c = nmadd"),
    ),
    *changes(
        "kernels/include/precisionlab/triangular.h",
        KERNELS + "/test_householder.py",
        ("unit[j] = power_below(largest);", "unit[j] = T(1.0);"),
        ("scaled = scaled + sum / unit[j] / unit[j];", "scaled = scaled + sum / unit[j];"),
        ("each_between<D>(i + 1, j + 1, [&]", "each_between<D>(i + 1, j, [&]"),
        ("smaller(root(scaled) * root(inverse), T(INFINITY))", "root(scaled) * root(inverse)"),
        ("least = smaller(least, sum);", "least = sum;"),
        ("larger(power_below(largest), T(SMALLEST_NORMAL))", "larger(T(1.0), T(SMALLEST_NORMAL))"),
    ),
    *changes(
        "kernels/include/precisionlab/cholesky.h",
        KERNELS + "/test_cholesky.py",
        ("x[k] = x[k] / pivot;", "x[k] = x[k] * pivot;"),
        ("b[i] = nmadd(A[i * n + j], x[j], b[i]);", "b[i] = madd(A[i * n + j], x[j], b[i]);"),
        ("each_between<D>(0, k, [&](int i) {", "each_between<D>(1, k, [&](int i) {"),
    ),
    *changes(
        "kernels/include/precisionlab/iterates.h",
        (KERNELS + "/test_iterates.py", KERNELS + "/test_chunks.py"),
        ("const T denominator = nmadd(rho, delta, theta + theta);", "const T denominator = nmadd(rho, delta, theta);"),
        ("rho = delta / theta;", "rho = theta / delta;"),
        ("squares[0] = madd(r, r, squares[0]);", "squares[0] = r * r;"),
        ("each<D>(d, [&](int j) { g[j] = -c[j]; });", "each<D>(d, [&](int j) { g[j] = c[j]; });"),
    ),
    *changes(
        "kernels/include/precisionlab/schulz.h",
        KERNELS + "/test_chunks.py",
        ("const T e = k == i ? T(1.0) - P[i * n + k] : P[i * n + k];", "const T e = P[i * n + k];"),
        ("P[k * n + i] = row[k];", "P[i * n + k] = row[k];"),
    ),
    *changes(
        "kernels/include/precisionlab/dispatch.h",
        KERNELS + "/test_convolution.py",
        (
            "const int from = -t.first - s, to = t.tokens - s - t.first;",
            "const int from = -t.first - s, to = t.tokens - s;",
        ),
        ("return {lag > 0 ? lag : 0, lag < 0 ? t.tokens + lag : t.tokens};", "return {lag > 0 ? lag : 0, t.tokens};"),
    ),
    *changes(
        "kernels/include/precisionlab/cards.h",
        KERNELS + "/test_device.py",
        (
            "built / 10 == capability / 10 && built <= capability",
            "built <= capability",
            "what is newer than the newest machine code has the PTX, so nothing that is built can tell",
        ),
        ("return PTX <= capability;", "return false;"),
    ),
    *changes(
        "kernels/include/precisionlab/device.h",
        KERNELS + "/test_device.py",
        ("PITCH * t.m * (t.n + 1); }", "PITCH * t.m * t.n; }"),
        ("n <= team.columns : n == team.columns", "n < team.columns : n == team.columns"),
    ),
    *changes(
        "kernels/cpu/lanes.h",
        KERNELS + "/test_householder.py",
        ("_mm256_blendv_pd(otherwise.hi, then.hi,", "_mm256_blendv_pd(otherwise.hi, then.lo,"),
        (
            "Lanes power_below(Lanes a) { PL_EACH(::precisionlab::power_below(a.v[i])); }",
            "Lanes power_below(Lanes a) { PL_EACH(a.v[i]); }",
        ),
    ),
    *changes(
        "kernels/cuda/householder.cu",
        KERNELS + "/test_emulation.py",
        ("measures[4 * t.batch] = factor.condition;", "measures[4 * t.batch] = factor.size;"),
        ("k % D < k / D ? 0.0 :", "k % D <= k / D ? 0.0 :"),
    ),
    *changes(
        "kernels/cuda/iterates.cu",
        KERNELS + "/test_emulation.py",
        ("if (at < size) out[at] = stage[at];", "if (at < size - 1) out[at] = stage[at];"),
    ),
    *changes(
        "kernels/cuda/convolution.cu",
        KERNELS + "/test_emulation.py",
        (
            "for (int k = warp; k <= t.taps; k += WARPS) tile.sums",
            "for (int k = warp; k < t.taps; k += WARPS) tile.sums",
        ),
    ),
]
