//! Graph topologies, and the collectives of neighbours.

use crate::{call, guest::*, ok};

const UNWEIGHTED: u32 = 0xffff_fffd;
const BARE: u32 = 0xffff_fffc;

#[test]
fn a_graph_is_what_all_processes_gave() {
    run(4, |guest| {
        let (me, words) = (guest.me(), guest.room(128));
        // A triangle of ranks 0, 1 and 2; rank 3 has no part in it.
        let (index, edges) = (guest.ints_in(&[2, 4, 6]), guest.ints_in(&[1, 2, 0, 2, 0, 1]));
        ok!(guest.graph_map(WORLD, 3, index, edges, words));
        assert_eq!(guest.int(words), if me < 3 { me } else { UNDEFINED });
        ok!(guest.graph_create(WORLD, 3, index, edges, 0, words));
        let graph = guest.int(words);
        assert_eq!(graph == 0, me == 3);
        if me == 3 {
            return;
        }
        ok!(guest.comm_dup(graph, words));
        let graph = guest.int(words);
        ok!(guest.topo_test(graph, words));
        ok!(guest.graphdims_get(graph, words + 4, words + 8));
        assert_eq!(guest.ints_at(words, 3), [1, 3, 6]);
        ok!(guest.graph_get(graph, 2, 9, words, words + 16));
        assert_eq!(guest.ints_at(words, 2), [2, 4], "no more than there is room for");
        assert_eq!(guest.ints_at(words + 16, 6), [1, 2, 0, 2, 0, 1]);
        ok!(guest.graph_neighbors_count(graph, 1, words));
        ok!(guest.graph_neighbors(graph, 1, 2, words + 4));
        assert_eq!(guest.ints_at(words, 3), [2, 0, 2]);
        let own = guest.ints_in(&[10 + me]);
        ok!(guest.neighbor_allgather(own, 1, INT, words, 1, INT, graph));
        let others: Vec<i32> = (0..3).filter(|rank| *rank != me).map(|rank| 10 + rank).collect();
        assert_eq!(guest.ints_at(words, 2), others);

        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        ok!(guest.comm_set_errhandler(graph, ERRORS_RETURN));
        let (topology, rank, argument) = (10, 6, 12);
        assert_eq!(call!(guest.graphdims_get(WORLD, words, words)), Ok(topology));
        assert_eq!(
            call!(guest.neighbor_allgather(own, 1, INT, words, 1, INT, WORLD)),
            Ok(topology)
        );
        assert_eq!(call!(guest.graph_neighbors_count(graph, 3, words)), Ok(rank));
        let shrinking = guest.ints_in(&[2, 1, 6]);
        assert_eq!(call!(guest.graph_map(WORLD, 3, shrinking, edges, words)), Ok(argument));
    });
}

#[test]
fn a_graph_may_be_known_in_parts() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size, words) = (guest.me(), guest.size(), guest.room(256));
            let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
            // A ring, twice: each process says who its neighbours are.
            let (from, to) = (guest.ints_in(&[previous]), guest.ints_in(&[next]));
            let (first, second) = (guest.ints_in(&[7 + previous]), guest.ints_in(&[7 + me]));
            ok!(guest.dist_graph_create_adjacent(WORLD, 1, from, first, 1, to, second, 0, 0, words));
            // And all is known to the last rank alone, without weights.
            let sources: Vec<i32> = (0..size).collect();
            let ends: Vec<i32> = (0..size).map(|rank| (rank + 1) % size).collect();
            let count = if me == size - 1 { size } else { 0 };
            let lists = [guest.ints_in(&sources), guest.ints_in(&ends)];
            let ones = guest.ints_in(&vec![1; size as usize]);
            ok!(guest.dist_graph_create(
                WORLD,
                count,
                lists[0],
                ones,
                lists[1],
                UNWEIGHTED,
                0,
                0,
                words + 4
            ));
            for (place, weighted) in [(0, 1), (4, 0)] {
                let graph = guest.int(words + place);
                ok!(guest.topo_test(graph, words + 16));
                ok!(guest.dist_graph_neighbors_count(graph, words + 20, words + 24, words + 28));
                assert_eq!(guest.ints_at(words + 16, 4), [3, 1, 1, weighted]);
                guest.set_ints(words + 36, &[-5]);
                ok!(guest.dist_graph_neighbors(
                    graph,
                    1,
                    words + 32,
                    words + 36,
                    1,
                    words + 40,
                    UNWEIGHTED
                ));
                let weight = if weighted == 1 { 7 + previous } else { -5 };
                assert_eq!(guest.ints_at(words + 32, 3), [previous, weight, next]);
                let own = guest.ints_in(&[me, -me]);
                ok!(guest.ineighbor_alltoall(own, 2, INT, words + 64, 2, INT, graph, words + 60));
                ok!(guest.wait(words + 60, 0));
                assert_eq!(guest.ints_at(words + 64, 2), [previous, -previous]);
            }
            ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
            let stranger = guest.ints_in(&[size]);
            let refused = call!(guest.dist_graph_create_adjacent(
                WORLD, 1, stranger, UNWEIGHTED, 0, 0, UNWEIGHTED, 0, 0, words
            ));
            assert_eq!(refused, Ok(6));
            // Nobody is a neighbour.
            ok!(guest.dist_graph_create_adjacent(WORLD, 0, 0, BARE, 0, 0, BARE, 0, 0, words));
            let graph = guest.int(words);
            ok!(guest.neighbor_alltoall(words, 1, INT, words, 1, INT, graph));
        });
    }
}

#[test]
fn in_a_grid_what_goes_to_the_left_comes_from_the_right() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size, words) = (guest.me(), guest.size(), guest.room(256));
            let dims = guest.ints_in(&[size]);
            for periodic in [0, 1] {
                let periods = guest.ints_in(&[periodic]);
                ok!(guest.cart_create(WORLD, 1, dims, periods, 0, words));
                let line = guest.int(words);
                let own = guest.ints_in(&[100 + me, 200 + me]);
                guest.set_ints(words + 16, &[-1, -1]);
                ok!(guest.neighbor_alltoall(own, 1, INT, words + 16, 1, INT, line));
                let mut expected = [200 + (me + size - 1) % size, 100 + (me + 1) % size];
                if periodic == 0 && me == 0 {
                    expected[0] = -1;
                }
                if periodic == 0 && me == size - 1 {
                    expected[1] = -1;
                }
                assert_eq!(guest.ints_at(words + 16, 2), expected);
            }
        });
    }
}

#[test]
fn several_edges_between_two_processes_keep_their_order() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size, words) = (guest.me(), guest.size(), guest.room(256));
            let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
            let (from, to) = (guest.ints_in(&[previous; 2]), guest.ints_in(&[next; 2]));
            ok!(guest.dist_graph_create_adjacent(
                WORLD, 2, from, UNWEIGHTED, 2, to, UNWEIGHTED, 0, 0, words
            ));
            let graph = guest.int(words);
            // Blocks of two and of one, which arrive in the other order in memory.
            let own = guest.ints_in(&[me, me + 10, me + 20]);
            let (counts, starts) = (guest.ints_in(&[2, 1]), guest.ints_in(&[0, 2]));
            let places = guest.ints_in(&[4, 0]);
            guest.set_ints(words, &[-1; 6]);
            ok!(guest
                .neighbor_alltoallv(own, counts, starts, INT, words, counts, places, INT, graph));
            let expected = [previous + 20, -1, -1, -1, previous, previous + 10];
            assert_eq!(guest.ints_at(words, 6), expected);
            // The same with places in bytes and datatypes of each block.
            let (bytes, into) = (guest.ints_in(&[0, 8]), guest.ints_in(&[16, 0]));
            let types = guest.ints_in(&[INT, INT]);
            guest.set_ints(words, &[-1; 6]);
            ok!(guest.ineighbor_alltoallw(
                own,
                counts,
                bytes,
                types,
                words,
                counts,
                into,
                types,
                graph,
                words + 60
            ));
            ok!(guest.wait(words + 60, 0));
            assert_eq!(guest.ints_at(words, 6), expected);
            let (ones, apart) = (guest.ints_in(&[1, 1]), guest.ints_in(&[3, 0]));
            guest.set_ints(words, &[-1; 4]);
            ok!(guest.neighbor_allgatherv(own, 1, INT, words, ones, apart, INT, graph));
            assert_eq!(guest.ints_at(words, 4), [previous, -1, -1, previous]);
        });
    }
}
