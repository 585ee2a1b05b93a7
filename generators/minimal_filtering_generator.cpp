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
// direct: its points are taps, and its sum over p is part of the product's. The sum over ci is one chain or
// several, of record.chain channels each. What of a tile lies outside the output is not stored.
//
// Tiles are numbered through all rows and images, so that small images make whole tasks too; but those of
// channels-first tensors on CPUs keep their places in rows, along which they are transformed and stored.
//
// Where phases are merged, c of the products counts the channels of all phases, so that few channels fill
// vectors: c + channels * (qx + phases_x * qy) instead of c.
#include "generators/layer_generator.h"
#include "generators/tap_table.h"
#include "schedules/cpu_filtering.h"
#include "schedules/gpu_filtering.h"
#include "schedules/window_prefetch.h"

#include <Halide.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace unstride {

using namespace Halide;

class MinimalFilteringGenerator : public ComputeGenerator<MinimalFilteringGenerator> {
public:
    void generate() {
        axes = filtered_axes(convolution(), *filter_tile(parameters.record));
        at = in_rows() ? std::vector<Var>{Var("tile_x"), Var("tile_y"), vars->n} : std::vector<Var>{Var("t")};
        for (std::size_t axis = 0; axis < axes.size(); axis++)
            tiles[axis] =
                (extent_of(axis) + static_cast<int>(axes[axis]->largest_shift()) + outputs(axis) - 1) /
                outputs(axis);
        define_transformed();
        define_products();
        define_inverse();
        if (in_rows()) {
            define_output_rows();
        } else if (merged()) {
            define_merged_output();
        } else {
            define_output();
        }
        constrain();
    }

    void schedule() {
        const MinimalFilteringStages stages{*output,     read_place,
                                            store_place, inverse,
                                            products,    product,
                                            read,        transformed,
                                            half,        window,
                                            result,      finished,
                                            padded,      across,
                                            along,       *vars,
                                            p,           k,
                                            i,           at,
                                            part,        ci,
                                            parts,       tile,
                                            taps,        outputs_of_tile,
                                            tiles};
        if (const auto *cpu = std::get_if<CpuFiltering>(&parameters.record.parameters)) {
            schedule_cpu_filtering(stages, convolution(), *cpu);
            if (cpu->prefetch) prefetch_weights();
            if (cpu->prefetch_input) prefetch_windows(*cpu);
        } else {
            schedule_gpu_filtering(stages, std::get<GpuFiltering>(parameters.record.parameters));
        }
    }

private:
    FilteredAxes axes;
    std::array<Expr, 2> tiles; // of a row, of a column
    Func read_place{"read_place"}, store_place{"store_place"};
    Func padded{"padded"}, window{"window"}, half{"half"}, transformed{"transformed"}, read{"read"},
        product{"product"}, products{"products"}, inverse{"inverse"}, result{"result"}, finished{"finished"},
        across{"across"}, along{"along"};
    std::array<Var, 2> p{Var("px"), Var("py")}, k{Var("kx"), Var("ky")}, i{Var("ix"), Var("iy")};
    std::vector<Var> at;     // a tile: its number, or its places in a row and a column, and the image
    std::optional<Var> part; // a chain of the channels' sum, where there are several
    RVar ci, parts;
    std::vector<RVar> taps, tile;
    std::array<RVar, 2> outputs_of_tile;

    bool in_rows() const {
        return convolution().layout == Layout::nchw &&
               std::holds_alternative<CpuFiltering>(parameters.record.parameters);
    }
    bool merged() const { return merges_phases(parameters.record); }
    int outputs(std::size_t axis) const { return static_cast<int>(axes[axis]->matrices.outputs); }
    Expr extent_of(std::size_t axis) { return output->dim(2 + 2 * static_cast<int>(axis)).extent(); }

    template<typename Index>
    static std::vector<Index> joined(std::vector<Index> first, const std::vector<Index> &second,
                                     const std::vector<Index> &third = {}) {
        first.insert(first.end(), second.begin(), second.end());
        first.insert(first.end(), third.begin(), third.end());
        return first;
    }
    std::vector<Expr> tile_here() const { return {at.begin(), at.end()}; }
    std::vector<Expr> phases() const { return {vars->q.begin(), vars->q.end()}; }

    // The number of a tile on both axes and of its image, once a tile: divisions take long. Register tiles go
    // past the last tile.
    void define_place(Func &place) {
        const Var t = at[0];
        const Expr image = min(t / (tiles[0] * tiles[1]), output->dim(5).extent() - 1);
        place(t) = Tuple(t % tiles[0], t / tiles[0] % tiles[1], image);
    }
    // The first output of a tile, of a phase that is not shifted.
    Expr origin(std::size_t axis, const Expr &place) {
        return output->dim(2 + 2 * static_cast<int>(axis)).min() + place * outputs(axis);
    }
    Expr image_of(const Expr &place) {
        const auto images = output->dim(5);
        return unsafe_promise_clamped(images.min() + place, images.min(), images.max());
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

    // Where the window of a tile begins in the input, which lies from 0 on.
    Expr place_of_window(const Expr &tile) {
        const std::array<Expr, 2> of_axes = {tile % tiles[0], tile / tiles[0] % tiles[1]};
        Expr place = tile / (tiles[0] * tiles[1]) * input->dim(3).stride();
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            const auto dim = input->dim(static_cast<int>(axis) + 1);
            place +=
                (origin(axis, of_axes[axis]) + static_cast<int>(axes[axis]->window_begin)) * dim.stride();
        }
        return place;
    }

    // Fetches the windows of the next task ahead.
    void prefetch_windows(const CpuFiltering &record) {
        const TaskWindows windows = {record.task_tiles,
                                     record.task_tiles / record.tiles,
                                     static_cast<int>(axes[1]->matrices.points()),
                                     outputs(0) * static_cast<int>(convolution().kernel_input_channels()),
                                     input->dim(2).stride(),
                                     [this](const Expr &tile) { return place_of_window(tile); }};
        get_pipeline().add_custom_lowering_pass(new WindowPrefetch(weights_name, input_name, windows));
    }

    void define_window() {
        const PhaseConvolution &conv = convolution();
        const Expr channel = min(vars->c, static_cast<int>(conv.kernel_input_channels()) - 1);
        const auto position = [&](std::size_t axis, const Expr &place) {
            return origin(axis, place) + static_cast<int>(axes[axis]->window_begin) + k[axis];
        };
        const std::vector<Var> place = joined({vars->c, k[0], k[1]}, at);
        if (in_rows()) {
            padded(vars->input()) = input_at(channel, {vars->x.begin(), vars->x.end()});
            window(place) = padded(vars->c, position(0, at[0]), position(1, at[1]), vars->n);
            return;
        }
        define_place(read_place);
        const FuncRef numbers = read_place(at[0]);
        window(place) =
            bordered_input(conv, *input, spatial_extents(*input, axes.size()), channel,
                           {position(0, numbers[0]), position(1, numbers[1])}, image_of(numbers[2]));
    }

    void define_transformed() {
        define_window();
        const std::vector<Expr> tile = tile_here();
        const Expr c = vars->c;
        half(joined({vars->c, p[0], k[1]}, at)) =
            axes[0]->direct() ? window(joined({c, p[0], k[1]}, tile))
                              : transform(axes[0]->matrices.input, p[0], [&](int column) {
                                    return window(joined({c, column, k[1]}, tile));
                                });
        const std::vector<Var> place = joined({vars->c, p[0], p[1]}, at);
        transformed(place) = axes[1]->direct() ? half(joined({c, p[0], p[1]}, tile))
                                               : transform(axes[1]->matrices.input, p[1], [&](int column) {
                                                     return half(joined({c, p[0], column}, tile));
                                                 });
        read(place) = transformed(std::vector<Expr>(place.begin(), place.end()));
    }

    void define_products() {
        const PhaseConvolution &conv = convolution();
        const int block = block_channels(parameters.record);
        const int channels = static_cast<int>(conv.channels_per_output());
        const int chain = chain_of(channels);
        Region ranges = {Range(0, chain)};
        for (const auto &axis : axes)
            if (axis->direct()) ranges.emplace_back(0, static_cast<int>(axis->matrices.points()));
        RDom r(ranges, "r");
        ci = r[0];
        std::array<Expr, 2> point = {p[0], p[1]};
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            if (axes[axis]->direct()) {
                taps.push_back(r[static_cast<int>(taps.size()) + 1]);
                point[axis] = taps.back();
            }
            if (!merged()) r.where(multiplies(axis, point[axis]));
        }
        const std::vector<Var> place = joined({vars->c, p[0], p[1]}, at, vars->q);
        std::vector<Var> place_of_chain = place;
        Expr channel = ci;
        if (chain < channels) {
            part = Var("part");
            place_of_chain.push_back(*part);
            channel = ci + *part * chain;
        }
        product(place_of_chain) = 0.0f;
        product(place_of_chain) += (*weights)(vars->c % block, channel, point[0], point[1], vars->q[0],
                                              vars->q[1], vars->c / block) *
                                   read(joined({channel, point[0], point[1]}, tile_here()));

        std::vector<Expr> sum(place.begin(), place.end());
        if (chain == channels) {
            products(place) = product(sum);
            return;
        }
        RDom of_chains(0, channels / chain, "chains");
        for (std::size_t axis = 0; axis < axes.size(); axis++)
            if (!merged() && !axes[axis]->direct()) of_chains.where(multiplies(axis, p[axis]));
        parts = of_chains.x;
        sum.emplace_back(parts);
        products(place) = 0.0f;
        products(place) += product(sum);
    }
    int chain_of(int channels) const {
        const auto *cpu = std::get_if<CpuFiltering>(&parameters.record.parameters);
        return cpu != nullptr && cpu->chain > 0 ? cpu->chain : channels;
    }

    // True where phase q of an axis has a product at a point.
    Expr multiplies(std::size_t axis, const Expr &point) const {
        const FilteredAxis &filtered = *axes[axis];
        Expr result = cast<bool>(true);
        for (std::int64_t q = 0; q < static_cast<std::int64_t>(filtered.shift.size()); q++) {
            for (std::int64_t at = 0; at < filtered.matrices.points(); at++)
                if (!filtered.multiplies(q, at))
                    result =
                        result && !(vars->q[axis] == static_cast<int>(q) && point == static_cast<int>(at));
        }
        return result;
    }

    // An axis transformed back. A direct axis is summed already.
    template<typename At>
    Expr back(std::size_t axis, const Expr &index, At product_at) const {
        return axes[axis]->direct() ? product_at(0)
                                    : transform(axes[axis]->matrices.output, index, product_at);
    }

    void define_inverse() {
        std::vector<Expr> tile = tile_here();
        // Whole vectors of outputs go past a row's last tile.
        if (in_rows()) tile[0] = clamp(tile[0], 0, tiles[0] - 1);
        inverse(joined({vars->c, i[0], p[1]}, at, vars->q)) = back(0, i[0], [&](int column) {
            return products(joined({Expr(vars->c), column, p[1]}, tile, phases()));
        });
    }

    Expr result_at(const Expr &x, const Expr &y, const std::vector<Expr> &tile) const {
        return back(1, y, [&](int column) {
            return inverse(joined({Expr(vars->c), x, column}, tile, phases()));
        });
    }

    // Where the outputs of all tiles are stored.
    std::vector<Expr> places_of_outputs() {
        RDom r(0, outputs(0), 0, outputs(1), 0, tiles[0] * tiles[1] * output->dim(5).extent(), "r");
        outputs_of_tile = {r.x, r.y};
        tile = {r.z};
        define_place(store_place);
        const FuncRef place = store_place(tile[0]);
        std::vector<Expr> stored_at = {vars->c};
        for (std::size_t axis = 0; axis < axes.size(); axis++) {
            const Expr u = origin(axis, place[static_cast<int>(axis)]) + outputs_of_tile[axis] -
                           table(axes[axis]->shift, vars->q[axis]);
            stored_at.insert(stored_at.end(), {vars->q[axis], inside(r, axis, u)});
        }
        stored_at.push_back(image_of(place[2]));
        return stored_at;
    }

    void define_output() {
        const std::vector<Expr> place = places_of_outputs();
        store(place, result_at(outputs_of_tile[0], outputs_of_tile[1], {Expr(tile[0])}));
    }

    // Whole vectors with their epilogue, taken apart only when they are stored.
    void define_merged_output() {
        const int channels = static_cast<int>(convolution().kernel_output_channels());
        const int phases_x = static_cast<int>(convolution().x().phase_count());
        const int phases_y = static_cast<int>(convolution().y().phase_count());
        const std::vector<Var> place = joined({vars->c, i[0], i[1]}, at, vars->q);
        result(place) = result_at(i[0], i[1], tile_here());
        const Expr phase = vars->c / channels;
        const std::map<std::string, Expr> of_lane = {
            {vars->c.name(), vars->c % channels},
            {vars->q[0].name(), phase % phases_x},
            {vars->q[1].name(), min(phase / phases_x, phases_y - 1)}};
        const Expr sum =
            Internal::Variable::make(Float(32), "sum"); // no call, in which c would be replaced too
        finished(place) = substitute("sum", result(std::vector<Expr>(place.begin(), place.end())),
                                     substitute(of_lane, finish_value(sum, Expr())));
        const std::vector<Expr> stored_at = places_of_outputs();
        const Expr lane = vars->c + channels * (vars->q[0] + phases_x * vars->q[1]);
        (*output)(vars->output()) = undef<float>();
        (*output)(stored_at) = finished(lane, outputs_of_tile[0], outputs_of_tile[1], tile[0], 0, 0);
    }

    // Rows of outputs of a phase are vectors across tiles: sixteen neighbours of sixteen channels, say, are
    // read by channels and turned.
    void define_output_rows() {
        result(joined({vars->c, i[0], i[1]}, at, vars->q)) = result_at(i[0], i[1], tile_here());

        const Expr x = vars->u[0] - output->dim(2).min() + table(axes[0]->shift, vars->q[0]);
        const std::vector<Var> place = {vars->c, vars->q[0], vars->u[0], vars->q[1], i[1], at[1], vars->n};
        across(place) =
            result(vars->c, x % outputs(0), i[1], x / outputs(0), at[1], vars->n, vars->q[0], vars->q[1]);
        along(place) = across(std::vector<Expr>(place.begin(), place.end()));

        const auto images = output->dim(5);
        RDom r(0, outputs(1), 0, tiles[1], images.min(), images.extent(), "r");
        outputs_of_tile[1] = r.x;
        tile = {r.y, r.z};
        const Expr v = origin(1, r.y) + r.x - table(axes[1]->shift, vars->q[1]);
        store({vars->c, vars->q[0], vars->u[0], vars->q[1], inside(r, 1, v), r.z},
              along(vars->c, vars->q[0], vars->u[0], vars->q[1], r.x, r.y, r.z));
    }

    // An output of a phase that is stored only where it is one of the tensor's.
    Expr inside(RDom &r, std::size_t axis, const Expr &u) {
        const auto bounds = output->dim(2 + 2 * static_cast<int>(axis));
        r.where(bounds.min() <= u && u <= bounds.max());
        bound_stores(r, axis, u);
        // Stores interleave only where nothing in their places is impure.
        return in_rows() ? clamp(u, bounds.min(), bounds.max())
                         : unsafe_promise_clamped(u, bounds.min(), bounds.max());
    }

    Expr finish_value(Expr value, const Expr &added) {
        const ChannelParameters rows = this->rows();
        if (rows.has_folded_bias()) value += rows.folded_bias(*vars);
        return rows.epilogue(*vars, value, added);
    }

    void store(const std::vector<Expr> &place, const Expr &value) {
        const Expr added = convolution().has_add() ? (*add)(place) : Expr();
        (*output)(vars->output()) = undef<float>();
        (*output)(place) = finish_value(value, added);
    }
};

} // namespace unstride

HALIDE_REGISTER_GENERATOR(unstride::MinimalFilteringGenerator, minimal_filtering)
