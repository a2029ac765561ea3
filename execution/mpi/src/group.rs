//! Groups: ordered sets of ranks.

use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, count, ensure, fault},
};
use std::{collections::HashSet, sync::Arc};

/// How two groups compare.
pub(crate) fn compare(first: &[u32], second: &[u32]) -> i32 {
    if first == second {
        return abi::IDENT;
    }
    let sorted = |group: &[u32]| {
        let mut group = group.to_vec();
        group.sort_unstable();
        group
    };
    if sorted(first) == sorted(second) { abi::SIMILAR } else { abi::UNEQUAL }
}

/// The ranks that triplets (first, last, stride) name.
fn triplets(ints: &[i32]) -> Result<Vec<i32>> {
    let mut ranks = Vec::new();
    let (triplets, _) = ints.as_chunks::<3>();
    for &[first, last, stride] in triplets {
        let text = || format!("({first}, {last}, {stride}) is no range");
        ensure(
            stride != 0 && (last >= first) == (stride > 0) || first == last,
            abi::ERR_ARG,
            text,
        )?;
        let steps =
            if stride == 0 { 0 } else { (i64::from(last) - i64::from(first)) / i64::from(stride) };
        ensure(steps <= 1 << 16 && ranks.len() <= 1 << 16, abi::ERR_ARG, text)?;
        ranks.extend((0..=steps).map(|step| (i64::from(first) + step * i64::from(stride)) as i32));
    }
    Ok(ranks)
}

impl Engine {
    /// A group by its handle.
    pub(crate) fn group(&self, handle: i32) -> Result<Arc<[u32]>> {
        if handle == abi::GROUP_EMPTY {
            return Ok(Arc::default());
        }
        let group = self.groups.get(handle).cloned();
        group.ok_or_else(|| fault(abi::ERR_GROUP, format!("there is no group {handle}")))
    }

    /// Adds a group and writes its handle.
    pub(crate) fn add_group(&mut self, members: Arc<[u32]>, group: u32) -> Result {
        self.space.check_place(group)?;
        let handle = match members.is_empty() {
            true => abi::GROUP_EMPTY,
            false => self.groups.add(members),
        };
        self.space.write_i32(group, handle)
    }

    /// The members that these ranks of a group name, each once.
    fn chosen(&self, group: &[u32], ranks: &[i32]) -> Result<Vec<u32>> {
        let mut seen = HashSet::new();
        let choose = |rank: &i32| {
            let member = usize::try_from(*rank).ok().and_then(|rank| group.get(rank)).copied();
            let member = member.filter(|member| seen.insert(*member));
            member.ok_or_else(|| {
                fault(abi::ERR_RANK, format!("rank {rank} is not in the group, or is named twice"))
            })
        };
        ranks.iter().map(choose).collect()
    }

    fn include(&mut self, group: i32, ranks: &[i32], newgroup: u32) -> Result {
        let members = self.chosen(&self.group(group)?, ranks)?;
        self.add_group(members.into(), newgroup)
    }

    fn exclude(&mut self, group: i32, ranks: &[i32], newgroup: u32) -> Result {
        let group = self.group(group)?;
        let out: HashSet<u32> = self.chosen(&group, ranks)?.into_iter().collect();
        let left: Vec<u32> = group.iter().filter(|member| !out.contains(member)).copied().collect();
        self.add_group(left.into(), newgroup)
    }

    pub(crate) fn group_size(&mut self, _: Cb<'_>, group: i32, size: u32) -> Result {
        let members = self.group(group)?.len();
        self.space.write_i32(size, members as i32)
    }

    pub(crate) fn group_rank(&mut self, _: Cb<'_>, group: i32, rank: u32) -> Result {
        let found = self.group(group)?.iter().position(|member| *member == self.me);
        self.space.write_i32(rank, found.map_or(abi::UNDEFINED, |rank| rank as i32))
    }

    pub(crate) fn group_incl(
        &mut self,
        _: Cb<'_>,
        group: i32,
        n: i32,
        ranks: u32,
        newgroup: u32,
    ) -> Result {
        let ranks = self.space.ints(ranks, count(n)? as usize)?;
        self.include(group, &ranks, newgroup)
    }

    pub(crate) fn group_excl(
        &mut self,
        _: Cb<'_>,
        group: i32,
        n: i32,
        ranks: u32,
        newgroup: u32,
    ) -> Result {
        let ranks = self.space.ints(ranks, count(n)? as usize)?;
        self.exclude(group, &ranks, newgroup)
    }

    pub(crate) fn group_range_incl(
        &mut self,
        _: Cb<'_>,
        group: i32,
        n: i32,
        ranges: u32,
        newgroup: u32,
    ) -> Result {
        let ranks = triplets(&self.space.ints(ranges, count(n)? as usize * 3)?)?;
        self.include(group, &ranks, newgroup)
    }

    pub(crate) fn group_range_excl(
        &mut self,
        _: Cb<'_>,
        group: i32,
        n: i32,
        ranges: u32,
        newgroup: u32,
    ) -> Result {
        let ranks = triplets(&self.space.ints(ranges, count(n)? as usize * 3)?)?;
        self.exclude(group, &ranks, newgroup)
    }

    pub(crate) fn group_union(
        &mut self,
        _: Cb<'_>,
        group1: i32,
        group2: i32,
        newgroup: u32,
    ) -> Result {
        let (first, second) = (self.group(group1)?, self.group(group2)?);
        let more = second.iter().filter(|member| !first.contains(member));
        let members: Vec<u32> = first.iter().chain(more).copied().collect();
        self.add_group(members.into(), newgroup)
    }

    pub(crate) fn group_intersection(
        &mut self,
        _: Cb<'_>,
        group1: i32,
        group2: i32,
        newgroup: u32,
    ) -> Result {
        let (first, second) = (self.group(group1)?, self.group(group2)?);
        let both: Vec<u32> =
            first.iter().filter(|member| second.contains(member)).copied().collect();
        self.add_group(both.into(), newgroup)
    }

    pub(crate) fn group_difference(
        &mut self,
        _: Cb<'_>,
        group1: i32,
        group2: i32,
        newgroup: u32,
    ) -> Result {
        let (first, second) = (self.group(group1)?, self.group(group2)?);
        let rest: Vec<u32> =
            first.iter().filter(|member| !second.contains(member)).copied().collect();
        self.add_group(rest.into(), newgroup)
    }

    pub(crate) fn group_translate_ranks(
        &mut self,
        _: Cb<'_>,
        group1: i32,
        n: i32,
        ranks1: u32,
        group2: i32,
        ranks2: u32,
    ) -> Result {
        let (first, second) = (self.group(group1)?, self.group(group2)?);
        let translate = |rank: i32| {
            if rank == abi::PROC_NULL {
                return Ok(abi::PROC_NULL);
            }
            let member = usize::try_from(rank).ok().and_then(|rank| first.get(rank));
            let member = member
                .ok_or_else(|| fault(abi::ERR_RANK, format!("rank {rank} is not in the group")))?;
            let place = second.iter().position(|other| other == member);
            Ok(place.map_or(abi::UNDEFINED, |place| place as i32))
        };
        let ranks = self.space.ints(ranks1, count(n)? as usize)?;
        let ranks = ranks.into_iter().map(translate).collect::<Result<Vec<_>>>()?;
        self.space.write_ints(ranks2, &ranks)
    }

    pub(crate) fn group_compare(
        &mut self,
        _: Cb<'_>,
        group1: i32,
        group2: i32,
        result: u32,
    ) -> Result {
        let found = compare(&self.group(group1)?, &self.group(group2)?);
        self.space.write_i32(result, found)
    }

    pub(crate) fn group_free(&mut self, _: Cb<'_>, group: u32) -> Result {
        let handle = self.space.read_i32(group)?;
        self.group(handle)?;
        self.groups.remove(handle);
        self.space.write_i32(group, abi::GROUP_NULL)
    }
}
