// The analytic default of minimal filtering on CPUs.
#pragma once

#include "schedules/default_model.h"

#include <optional>
#include <string>
#include <vector>

namespace unstride {

// Infinite cycles where there is none. The cycles are those of one image, as of the other families.
// Precondition: fixed sizes, and a layer that sums over channels.
Choice<CpuFiltering> best_filtering(const PhaseConvolution &layer, const TargetFacts &target);

// Whether the family's loops fit the target: by lane, of channels-last inputs by fours only.
bool filters_well(const PhaseConvolution &layer, const TargetFacts &target);

// Why there is none.
std::string no_filtering(const PhaseConvolution &layer, const TargetFacts &target);

// The same tile in tasks for that layer, with strips and with all blocks a task where rows of other calls may
// be longer, and the cycles of one of two threads for all its images, times two.
CpuFiltering with_task(const PhaseConvolution &layer, const TargetFacts &target, CpuFiltering record,
                       bool open_rows);
double modelled_cycles(const PhaseConvolution &layer, const TargetFacts &target, const CpuFiltering &record);

// Input channels of a step: by lane two vectors, which are loaded ahead, and else two that share a branch.
// Where multiplying and adding are two instructions, the second channel's products would be spilled.
int filtering_unroll(const PhaseConvolution &layer, const TargetFacts &target);

// Input channels of the longest chains whose error the layer's policy allows, as CpuFiltering has them: 0 for
// all. Nothing where no chain makes it small enough, or the tile is none of the layer's.
std::optional<int> longest_chain(const PhaseConvolution &layer, const TargetFacts &target, CpuFiltering tile);

// A filter tile in its longest chains, and what it costs: products of all tiles of an image, those that
// overhang it too, of one channel; points of a window, which are transformed and staged; chains of a sum.
struct CostedTile {
    CpuFiltering tile;
    double work = 1, window = 1, chains = 1;

    bool costs_no_less(const CostedTile &other) const {
        return other.work <= work && other.window <= window && other.chains <= chains;
    }
};

// The tiles of a layer that no other beats on all counts; one of equals, which is as wide or wider. Register
// tiles and tasks are left to choose.
std::vector<CostedTile> filter_tiles(const PhaseConvolution &layer, const TargetFacts &target);

// Whether merged phases fill so many fewer vectors than phases apart, a quarter of them and more.
bool merging_saves_vectors(const PhaseConvolution &layer, const CpuFiltering &record);

// Merged phases that fill three quarters of 512-bit vectors, of which a core may multiply and add one a cycle
// where the model has two: column sums, whose time that is, then take longer than modelled, and these loops,
// which load as often as they multiply, do not. Of four layers column sums took 1.5 to 2.6 times as long as
// modelled and these 0.9 to 1.35.
bool merges_on_wide_vectors(const PhaseConvolution &layer, const TargetFacts &target,
                            const CpuFiltering &record);

} // namespace unstride
