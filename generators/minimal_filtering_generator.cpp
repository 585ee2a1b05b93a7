// A phase convolution that sums over channels, by minimal filtering: in tiles of outputs that take fewer
// products than outputs times taps (compiler/lowering/minimal_filtering.h derives the matrices and the
// windows).
//
// Tile t of all m_x * m_y outputs of every phase reads one window of n_x * n_y inputs. Transformed once, it
// serves all phases:
//
//   transformed(ci, p, t) = sum over k of B^T(p, k) * window(ci, k, t)             p, k: points of both axes
//   products(c, p, t, q)  = sum over ci of weights(c, ci, p, q) * transformed(ci, p, t)
//   out(c, q, u(q, t, i)) = epilogue(bias(c) + sum over p of A^T(i, p) * products(c, p, t, q)),   i < m
//
// with u = m * t - shift(q) + i. The weights were transformed when they were packed. An axis of m = 1 is
// direct: its points are taps, and its sum over p is part of the product's. Tiles are numbered through all
// rows and images, so that small images make whole tasks too; what of a tile lies outside the output is not
// stored.
#include "generators/layer_generator.h"
#include "generators/tap_table.h"
#include "schedules/cpu_filtering.h"

#include <Halide.h>

namespace unstride {

using namespace Halide;

class MinimalFilteringGenerator : public ComputeGenerator<MinimalFilteringGenerator> {
public:
    void generate() {
        axes = filtered_axes(convolution(), std::get<CpuFiltering>(parameters.record.parameters));
        for (std::size_t axis = 0; axis < axes.size(); axis++)
            tiles[axis] =
                (extent_of(axis) + static_cast<int>(axes[axis].largest_shift()) + outputs(axis) - 1) /
                outputs(axis);
        define_transformed();
        define_products();
        define_output();
        constrain();
    }

    void schedule() {
        const MinimalFilteringStages stages{*output, read_place, store_place, inverse,     products,
                                            product, read,       transformed, half,        window,
                                            *vars,   p,          k,           i,           t,
                                            ci,      tile,       taps,        tile_outputs};
        schedule_cpu_filtering(stages, convolution(), std::get<CpuFiltering>(parameters.record.parameters));
    }

private:
    std::array<FilteredAxis, 2> axes; // x first
    std::array<Expr, 2> tiles;        // of a row, of a column
    Func read_place{"read_place"}, store_place{"store_place"};
    Func window{"window"}, half{"half"}, transformed{"transformed"}, read{"read"}, product{"product"},
        products{"products"}, inverse{"inverse"};
    std::array<Var, 2> p{Var("px"), Var("py")}, k{Var("kx"), Var("ky")}, i{Var("ix"), Var("iy")};
    Var t{"t"};
    RVar ci, tile;
    std::vector<RVar> taps;
    std::array<RVar, 2> tile_outputs;

    int outputs(std::size_t axis) const { return static_cast<int>(axes[axis].matrices.outputs); }
    Expr extent_of(std::size_t axis) { return output->dim(2 + 2 * static_cast<int>(axis)).extent(); }

    // The number of a tile on both axes and of its image, once a tile: divisions take long. Register tiles go
    // past the last tile.
    void define_place(Func &place) {
        const Expr image = min(t / (tiles[0] * tiles[1]), output->dim(5).extent() - 1);
        place(t) = Tuple(t % tiles[0], t / tiles[0] % tiles[1], image);
    }
    // The first output of a tile, of a phase that is not shifted.
    Expr origin(std::size_t axis, const FuncRef &place) {
        return output->dim(2 + 2 * static_cast<int>(axis)).min() +
               place[static_cast<int>(axis)] * outputs(axis);
    }
    Expr image_of(const FuncRef &place) {
        const auto images = output->dim(5);
        return unsafe_promise_clamped(images.min() + place[2], images.min(), images.max());
    }

    // Row `index` of a matrix times a vector. Rows that differ in signs only, as those of points a and -a do,
    // are written as the same two partial sums, added and subtracted.
    template<typename At>
    static Expr transform(const RationalMatrix &matrix, const Expr &index, At vector) {
        std::vector<Expr> rows;
        for (std::size_t row = 0; row < matrix.size(); row++) {
            std::size_t twin = row;
            for (std::size_t other = 0; other < matrix.size(); other++)
                if (other != row && equal_magnitudes(matrix[row], matrix[other])) twin = other;
            const std::vector<Rational> &first = matrix[std::min(row, twin)],
                                        &second = matrix[std::max(row, twin)];
            Expr equal = Expr(0.0f), opposite = Expr(0.0f);
            for (std::size_t column = 0; column < first.size(); column++) {
                if (first[column] == Rational(0)) continue;
                const Expr term =
                    vector(static_cast<int>(column)) * static_cast<float>(first[column].to_double());
                Expr &sum = first[column] == second[column] ? equal : opposite;
                sum += term;
            }
            rows.push_back(row <= twin ? equal + opposite : equal - opposite);
        }
        return rows.size() == 1 ? rows[0] : mux(index, rows);
    }
    static bool equal_magnitudes(const std::vector<Rational> &a, const std::vector<Rational> &b) {
        return std::equal(a.begin(), a.end(), b.begin(), [](const Rational &x, const Rational &y) {
            return x.magnitude() == y.magnitude();
        });
    }

    void define_transformed() {
        const PhaseConvolution &conv = convolution();
        define_place(read_place);
        std::vector<Expr> position;
        for (std::size_t axis = 0; axis < axes.size(); axis++)
            position.push_back(origin(axis, read_place(t)) + static_cast<int>(axes[axis].window_begin) +
                               k[axis]);
        const Expr channel = min(vars->c, static_cast<int>(conv.kernel_input_channels()) - 1);
        window(vars->c, k[0], k[1], t) = bordered_input(conv, *input, spatial_extents(*input, axes.size()),
                                                        channel, position, image_of(read_place(t)));
        half(vars->c, p[0], k[1], t) =
            axes[0].direct() ? window(vars->c, p[0], k[1], t)
                             : transform(axes[0].matrices.input, p[0],
                                         [&](int column) { return window(vars->c, column, k[1], t); });
        transformed(vars->c, p[0], p[1], t) =
            axes[1].direct() ? half(vars->c, p[0], p[1], t)
                             : transform(axes[1].matrices.input, p[1],
                                         [&](int column) { return half(vars->c, p[0], column, t); });
        read(vars->c, p[0], p[1], t) = transformed(vars->c, p[0], p[1], t);
    }

    void define_products() {
        const PhaseConvolution &conv = convolution();
        const int block = block_channels(parameters.record);
        Region ranges = {Range(0, static_cast<int>(conv.channels_per_output()))};
        for (const FilteredAxis &axis : axes)
            if (axis.direct()) ranges.emplace_back(0, static_cast<int>(axis.matrices.points()));
        RDom r(ranges, "r");
        ci = r[0];
        std::array<Expr, 2> point = {p[0], p[1]};
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            if (axes[axis].direct()) {
                taps.push_back(r[static_cast<int>(taps.size()) + 1]);
                point[axis] = taps.back();
            }
            r.where(multiplies(axis, point[axis]));
        }
        const std::vector<Var> at = {vars->c, p[0], p[1], t, vars->q[0], vars->q[1]};
        product(at) = 0.0f;
        product(at) +=
            (*weights)(vars->c % block, ci, point[0], point[1], vars->q[0], vars->q[1], vars->c / block) *
            read(ci, point[0], point[1], t);
        products(at) = product(std::vector<Expr>(at.begin(), at.end()));
    }

    // True where phase q of an axis has a product at a point.
    Expr multiplies(std::size_t axis, const Expr &point) const {
        const FilteredAxis &filtered = axes[axis];
        Expr result = cast<bool>(true);
        for (std::int64_t q = 0; q < static_cast<std::int64_t>(filtered.shift.size()); q++) {
            for (std::int64_t at = 0; at < filtered.matrices.points(); at++)
                if (!filtered.multiplies(q, at))
                    result =
                        result && !(vars->q[axis] == static_cast<int>(q) && point == static_cast<int>(at));
        }
        return result;
    }

    void define_output() {
        // A direct axis is summed already.
        const auto back = [&](std::size_t axis, const Expr &index, const auto &product_at) {
            return axes[axis].direct() ? product_at(0)
                                       : transform(axes[axis].matrices.output, index, product_at);
        };
        inverse(vars->c, i[0], p[1], t, vars->q[0], vars->q[1]) = back(
            0, i[0], [&](int column) { return products(vars->c, column, p[1], t, vars->q[0], vars->q[1]); });

        RDom r(0, outputs(0), 0, outputs(1), 0, tiles[0] * tiles[1] * output->dim(5).extent(), "r");
        tile_outputs = {r.x, r.y};
        tile = r.z;
        Expr value = back(1, tile_outputs[1], [&](int column) {
            return inverse(vars->c, tile_outputs[0], column, tile, vars->q[0], vars->q[1]);
        });
        const ChannelParameters rows = this->rows();
        if (rows.has_folded_bias()) value += rows.folded_bias(*vars);

        define_place(store_place);
        const FuncRef place = store_place(tile);
        std::vector<Expr> stored_at = {vars->c};
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            const auto bounds = output->dim(2 + 2 * static_cast<int>(axis));
            const Expr u = origin(axis, place) - table(axes[axis].shift, vars->q[axis]) + tile_outputs[axis];
            r.where(bounds.min() <= u && u <= bounds.max());
            // Where it is stored it is inside.
            stored_at.insert(stored_at.end(),
                             {vars->q[axis], unsafe_promise_clamped(u, bounds.min(), bounds.max())});
        }
        stored_at.push_back(image_of(place));
        const Expr added = convolution().has_add() ? (*add)(stored_at) : Expr();
        (*output)(vars->output()) = undef<float>();
        (*output)(stored_at) = rows.epilogue(*vars, value, added);
    }
};

} // namespace unstride

HALIDE_REGISTER_GENERATOR(unstride::MinimalFilteringGenerator, minimal_filtering)
