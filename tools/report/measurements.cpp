// What was measured, drawn: every sample, and every row against the limits of the machine.
#include "tools/compare/units.h"
#include "tools/report/document.h"
#include "tools/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace unstride {

namespace {

bool has_samples(const ReportDocument &document, const RowGroup &group) {
    return std::any_of(group.rows.begin(), group.rows.end(),
                       [&](std::size_t row) { return !document.rows()[row].samples_ns.empty(); });
}

// A time axis that all rows of a layer share: from the fastest sample to where nearly all of them end.
PlotScale time_scale(const ReportDocument &document, const RowGroup &group, double top, double bottom) {
    std::vector<double> samples;
    for (const std::size_t row : group.rows) {
        for (const std::vector<double> &round : document.rows()[row].samples_ns)
            samples.insert(samples.end(), round.begin(), round.end());
    }
    std::sort(samples.begin(), samples.end());
    const double most = samples[static_cast<std::size_t>(static_cast<double>(samples.size() - 1) * 0.95)];
    const double margin = std::max((most - samples.front()) * 0.08, samples.front() * 0.002);
    return {samples.front() - margin, most + margin, bottom, top, false};
}

// Points on whole pixels, each relative to the one before: a page holds tens of thousands. Dots stand apart,
// the others are joined.
class PointPath {
public:
    explicit PointPath(bool dots) : dots_(dots) {}

    void add(double x, double y) {
        const int to_x = static_cast<int>(std::lround(x)), to_y = static_cast<int>(std::lround(y));
        if (text_.empty())
            text_ = fmt::format("M{} {}", to_x, to_y);
        else
            text_ += fmt::format("{}{}{}{}", dots_ ? "m" : "l", to_x - x_, to_y < y_ ? "" : " ", to_y - y_);
        if (dots_) text_ += "z";
        x_ = to_x;
        y_ = to_y;
    }
    const std::string &text() const { return text_; }

private:
    bool dots_;
    std::string text_;
    int x_ = 0, y_ = 0;
};

// Horizontal lines of a plot in one path, and what stands before them.
void draw_grid(const PlotScale &y, double left, double right, Picture *picture) {
    std::string lines;
    for (const double tick : y.ticks(5)) {
        lines += fmt::format("M{} {}H{}", pixels(left), pixels(y(tick)), pixels(right));
        picture->text(left - 8, y(tick) + 4, format_time(tick), "smallend");
    }
    picture->path(lines, "grid");
}

void draw_samples(const ReportDocument &document, std::size_t row, const PlotScale &y, double left,
                  double width, double top, Picture *picture) {
    const ResultRow &result = document.rows()[row];
    const std::size_t series = document.series(row) % series_count;
    if (result.interval_ns) {
        picture->rectangle(left, y((*result.interval_ns)[1]), width,
                           std::max(1.0, y((*result.interval_ns)[0]) - y((*result.interval_ns)[1])),
                           fmt::format("range s{}", series).c_str());
    }
    const double step = width / static_cast<double>(std::max<std::size_t>(result.samples_ns.size(), 1));
    PointPath dots(true), minima(true), trace(false);
    std::size_t beyond = 0;
    double x = left + step / 2;
    for (const std::vector<double> &round : result.samples_ns) {
        const double apart = round.size() < 2 ? 0 : step * 0.5 / static_cast<double>(round.size() - 1);
        double place = x - apart * static_cast<double>(round.size() - 1) / 2;
        for (const double sample : round) {
            if (sample > y.high())
                beyond++;
            else
                dots.add(place, y(sample));
            place += apart;
        }
        const double least = *std::min_element(round.begin(), round.end());
        minima.add(x, y(least));
        trace.add(x, y(least));
        x += step;
    }
    picture->path(trace.text(), fmt::format("trace s{}", series));
    picture->path(dots.text(), fmt::format("dots s{}", series));
    picture->path(minima.text(), fmt::format("minima s{}", series));
    if (beyond > 0) picture->text(left + width / 2, top - 4, fmt::format("↑ {} above", beyond), "smallmid");
}

std::string sample_plot(const ReportDocument &document, const RowGroup &group) {
    constexpr double left = 76, top = 46, bottom = 190, width = 190, gap = 16;
    Picture picture(left + (width + gap) * static_cast<double>(group.rows.size()), 228,
                    "Samples of " + group.title);
    const PlotScale y = time_scale(document, group, top, bottom);
    const double end = left + (width + gap) * static_cast<double>(group.rows.size()) - gap;
    draw_grid(y, left, end, &picture);
    double x = left;
    for (const std::size_t row : group.rows) {
        picture.text(x + width / 2, 14, shortened(document.columns()[document.series(row)], 26),
                     "mid strong");
        if (document.rows()[row].samples_ns.empty()) {
            picture.text(x + width / 2, (top + bottom) / 2, to_string(document.rows()[row].status),
                         "smallmid");
        } else {
            draw_samples(document, row, y, x, width, top, &picture);
            picture.raw(document.svg_figure(x + width / 2, 29, "smallmid",
                                            fmt::format("/rows/{}/est_ns", row), "time"));
        }
        picture.line(x, bottom + 2, x + width, bottom + 2, "axis");
        x += width + gap;
    }
    picture.text((left + end) / 2, 216, "rounds, in the order in which they ran", "smallmid");
    return scrolling(picture.finished());
}

std::string outlier_line(const ReportDocument &document, const RowGroup &group) {
    std::string text;
    for (const std::size_t row : group.rows) {
        if (document.rows()[row].samples_ns.empty()) continue;
        text += fmt::format("{}{}: {}", text.empty() ? "" : ", ",
                            escaped(document.columns()[document.series(row)]),
                            document.row_figure(row, "derived/outliers", "count"));
    }
    return text.empty() ? ""
                        : "<p class=\"soft\">Samples of 1.5 times the estimate or more: " + text + ".</p>\n";
}

// The limits of a source for one instruction set and number of threads.
struct Limits {
    std::optional<double> peak;
    std::vector<MeasuredBandwidth> bandwidths;
};

Limits limits_of(const ReportDocument &document, const MachineGroup &machine) {
    Limits limits;
    for (const ResultSource &source : document.comparison().results.sources) {
        for (const MeasuredPeak &peak : source.peaks) {
            if (peak.instruction_set == machine.instruction_set && peak.threads == machine.threads &&
                !limits.peak)
                limits.peak = peak.flops;
        }
        if (!limits.bandwidths.empty()) continue;
        for (const MeasuredBandwidth &bandwidth : source.bandwidths) {
            if (bandwidth.threads == machine.threads) limits.bandwidths.push_back(bandwidth);
        }
    }
    return limits;
}

struct RoofPoint {
    std::size_t row;
    double intensity, rate; // operations a byte, GFLOP/s
};

std::vector<RoofPoint> roof_points(const ReportDocument &document, const MachineGroup &machine) {
    std::vector<RoofPoint> points;
    for (const std::size_t group : machine.groups) {
        for (const std::size_t row : document.groups()[group].rows) {
            const ResultRow &result = document.rows()[row];
            const auto &flops = document.comparison().rows[row].flops;
            if (!flops || !result.compulsory_bytes || *result.compulsory_bytes <= 0) continue;
            const double bytes = result.moved_bytes.value_or(*result.compulsory_bytes);
            points.push_back({row, 2 * *result.multiplications / bytes, *flops / 1e9});
        }
    }
    return points;
}

void draw_roofs(const Limits &limits, const PlotScale &x, const PlotScale &y, double right,
                Picture *picture) {
    const double peak = limits.peak.value_or(std::numeric_limits<double>::infinity()) / 1e9;
    for (const MeasuredBandwidth &bandwidth : limits.bandwidths) {
        const double slope = bandwidth.bytes_per_second / 1e9;
        const double from = std::max(x.low(), y.low() / slope);
        const double to = std::min(x.high(), std::min(peak, y.high()) / slope);
        if (from >= to) continue;
        picture->line(x(from), y(from * slope), x(to), y(to * slope), "dash");
        if (x(to) - x(from) > 30) picture->text(x(from) + 6, y(from * slope) - 8, bandwidth.level, "small");
    }
    if (limits.peak) {
        picture->line(x(x.low()), y(peak), right, y(peak), "roof");
        picture->text(right, y(peak) - 6, "measured multiply-add peak " + format_flops(*limits.peak),
                      "smallend");
    }
}

std::string roofline(const ReportDocument &document, const MachineGroup &machine) {
    const std::vector<RoofPoint> points = roof_points(document, machine);
    if (points.empty()) return "";
    const Limits limits = limits_of(document, machine);
    double least_x = 1, most_x = 100, least_y = 1e9, most_y = limits.peak.value_or(0) / 1e9;
    for (const RoofPoint &point : points) {
        least_x = std::min(least_x, point.intensity / 1.5);
        most_x = std::max(most_x, point.intensity * 1.5);
        least_y = std::min(least_y, point.rate / 2);
        most_y = std::max(most_y, point.rate);
    }
    constexpr double left = 66, right = 900, top = 20, bottom = 400;
    Picture picture(930, 446,
                    fmt::format("Roofline, {}, {} threads", machine.instruction_set, machine.threads));
    const PlotScale x(least_x, most_x, left, right, true), y(least_y, most_y * 1.4, bottom, top, true);
    for (const double tick : x.ticks(10)) {
        picture.line(x(tick), top, x(tick), bottom, "grid");
        picture.text(x(tick), bottom + 16, fmt::format("{:g}", tick), "smallmid");
    }
    for (const double tick : y.ticks(6)) {
        picture.line(left, y(tick), right, y(tick), "grid");
        picture.text(left - 7, y(tick) + 4, fmt::format("{:g}", tick), "smallend");
    }
    picture.text((left + right) / 2, bottom + 38, "operations for each byte of tensors and weights",
                 "smallmid");
    picture.turned_text(14, (top + bottom) / 2, "GFLOP/s", "smallmid");
    draw_roofs(limits, x, y, right, &picture);
    for (const RoofPoint &point : points) {
        const ResultRow &row = document.rows()[point.row];
        picture.marker(x(point.intensity), y(point.rate), document.series(point.row),
                       fmt::format("{}, {}", row.layer, document.columns()[document.series(point.row)]));
    }
    return legend(document.columns()) +
           figure_box(picture.finished(),
                      "How to read: a point is one layer by one contender; rest on it for its name. The "
                      "upper line is "
                      "what multiply-adds in registers reached on this machine, the slanted ones what its "
                      "caches and "
                      "memory let through. The distance to the lowest line above a point is what could still "
                      "be won. "
                      "Bytes are those that must move at least, unless a counter told the real ones.");
}

} // namespace

std::string samples_section(const ReportDocument &document) {
    std::string text;
    for (const RowGroup &group : document.groups()) {
        if (!has_samples(document, group)) continue;
        text += details(document.few_groups(), escaped(group.title),
                        sample_plot(document, group) + outlier_line(document, group));
    }
    if (text.empty()) return absent("The results hold no raw samples.");
    return "<p>Each panel is one contender. Small dots are samples, large ones the fastest of each round, "
           "joined in the "
           "order of time, so a slope is drift. The shaded band is the 99 % interval of the estimate, which "
           "is the "
           "median of the large dots. Samples above the panel are counted at its top.</p>\n" +
           text;
}

std::string roofline_section(const ReportDocument &document) {
    std::string text;
    for (const MachineGroup &machine : document.machine_groups()) {
        const std::string plot = roofline(document, machine);
        if (plot.empty()) continue;
        text += fmt::format("<h3>{}, {} thread{}</h3>\n{}", escaped(machine.instruction_set), machine.threads,
                            machine.threads == 1 ? "" : "s", plot);
    }
    return text.empty() ? absent("No row has a time, multiplications and bytes.") : text;
}

} // namespace unstride
